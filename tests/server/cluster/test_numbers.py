from sanawm_env.server.cluster.numbers import add_label, family, merged


def test_texts_become_one():
    texts = {
        name: family("steps_total", "counter", "Steps.", {"": k}) + family("wait", "gauge", "W.", {'{q="0.5"}': 0.25})
        for k, name in enumerate("ab")
    }
    assert merged(texts).splitlines() == [
        "# HELP sanawm_steps_total Steps.",
        "# TYPE sanawm_steps_total counter",
        'sanawm_steps_total{replica="a"} 0',
        'sanawm_steps_total{replica="b"} 1',
        "# HELP sanawm_wait W.",
        "# TYPE sanawm_wait gauge",
        'sanawm_wait{replica="a",q="0.5"} 0.25',
        'sanawm_wait{replica="b",q="0.5"} 0.25',
    ]
    assert merged({}) == ""
    assert add_label('x{a="{"} 1', "replica", "0") == 'x{replica="0",a="{"} 1'
