"""`python -m t2i_shards` is the command `t2i-shards`."""

from t2i_shards.jobs.__main__ import main

if __name__ == "__main__":
    main()
