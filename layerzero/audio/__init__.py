"""Audio between a real-time callback and a model: a ring of frames that never waits, and memory that never pages.

ring = Ring(frames=4096, channels=2)      # or name="mic", and Ring.attach("mic") in another process
with ring.writer() as out: out.write(block)
with ring.reader() as inp: inp.read(block)

Everything is allocated when a ring or an arena is made. The extension is built with the native matcher; without it
making one is an error that says so.
"""

from layerzero.audio.memory import Arena, aligned
from layerzero.audio.ring import Reader, Ring, Writer

__all__ = ["Arena", "Reader", "Ring", "Writer", "aligned"]
