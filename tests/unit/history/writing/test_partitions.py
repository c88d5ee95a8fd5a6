from datetime import UTC, date, datetime, timedelta, timezone

from history.writing.partitions import name_of, partition_named, split_by_day
from history.writing.rows import Row

DAY = date(2026, 11, 21)


def receipt(at: datetime) -> Row:
    return ("default", "n1", "1", "read", at)


def test_names_of_partitions_are_read_back() -> None:
    assert name_of(("publications", DAY)) == "publications_20261121"
    assert partition_named("publications_20261121") == ("publications", DAY)
    assert partition_named("dead_letters_20261121") == ("dead_letters", DAY)


def test_other_tables_are_no_partitions() -> None:
    for name in ("publications", "others_20261121", "publications_20261399", "publications_2026"):
        assert partition_named(name) is None


def test_rows_of_days_that_are_not_kept_are_told_apart() -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    inside, old, late = (receipt(noon + timedelta(days=n)) for n in (0, -3, 3))
    kept, outside, partitions = split_by_day(
        {"receipts": [old, inside, late], "mirror_batches": [(*["x"] * 5, noon)]},
        DAY - timedelta(days=2),
        DAY + timedelta(days=2),
    )
    assert kept == {"receipts": [inside], "mirror_batches": [(*["x"] * 5, noon)]}
    assert outside == {"receipts": [old, late]}
    assert partitions == {("receipts", DAY), ("mirror_batches", DAY)}


def test_a_day_is_one_of_utc() -> None:
    at = datetime(2026, 11, 22, 1, tzinfo=timezone(timedelta(hours=5)))
    _, _, partitions = split_by_day({"receipts": [receipt(at)]}, DAY, DAY)
    assert partitions == {("receipts", DAY)}
