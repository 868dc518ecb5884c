"""The places that policies come from, one file each: a file, a web server, Redis, etcd. See layerzero.fleet.source."""
