# A package, because other folders of tests may also hold a test_flow.py or test_rollout.py.
