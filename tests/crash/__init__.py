"""A server that is killed again and again under load, and a checker that compares what it acknowledged with what became of it.

    PYTHONPATH=host:tests python -m crash --kills 500 --charges 200

`calls.py` says what clients ask for, `load.py` asks, `world.py` is what the functions reach, `server.py` is killed,
`checker.py` judges, and `harness.py` is the whole.  `charging.py` does the same to durable functions, which charge customers
at `bank.py`.  Every choice comes from one printed seed.
"""
