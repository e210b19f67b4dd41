"""The OpenAI-compatible door: clients that know only a model can use the fleet as one, under `/v1`.

A request is a run like any other, told in other words: `words.py`, `chat_words.py` and `responses_words.py` read what
clients send, `chat.py` and `responses.py` write what they expect, `exchange.py` carries one request from its start to
its end, `refusals.py` is how the door says no.
"""
