"""What an editor asks about `.lzp` files, and the server that answers it.

    symbols      trees -> every word that names something: what kind, where, and whether it is declared there
    workspace    files on disk and as they stand in the editor -> a program, its findings and its symbols
    completion   a place in a text -> the words that may stand there
    hover        a place -> what its word means: a field's type, a kernel's facts, what a rule does
    rename       a symbol and its new name -> the edits, in every file that may be written
    server       the language server protocol over standard input and output (pygls)

All but the last are functions of texts and know nothing of the protocol.
"""
