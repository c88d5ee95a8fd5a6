from ws_gateway.channels.run import Run


def test_a_run_counts_its_first_and_its_last() -> None:
    assert Run("e", 3, 5).length == 3
    assert Run("e", 7, 7).length == 1
