"""Customer tables become groups with weights, and nothing that identifies a person goes into a persona."""

import pytest

from mavera.focus_groups.customers import OTHERS, TableRefused, group_customers

AGES, REGIONS, PLANS = ("55+", "18-34", "18-34"), ("South", "North"), ("plus", *["basic"] * 4)
TABLE = "id;age;region;plan;email\n" + "\n".join(
    f"{n};{AGES[n % 3]};{REGIONS[n % 2]};{PLANS[n % 5]};p{n}@x.org" for n in range(60)
)


def test_groups_are_the_largest_first_and_their_weights_add_up() -> None:
    groups = group_customers(TABLE, ["age", "region"])
    assert [group.customers for group in groups] == sorted((g.customers for g in groups), reverse=True)
    assert sum(group.weight for group in groups) == pytest.approx(1)
    assert groups[0].attributes.keys() == {"age", "region"}


def test_a_persona_of_a_group_names_no_person() -> None:
    for group in group_customers(TABLE, ["age"]):
        sheet = group.to_sheet()
        assert "@" not in sheet.description
        assert "plan: basic" in sheet.description


def test_the_smallest_groups_become_one() -> None:
    groups = group_customers(TABLE, ["age", "region", "plan"], most=3)
    assert len(groups) == 3
    assert groups[-1].attributes["age"] == OTHERS
    assert sum(group.customers for group in groups) == 60


@pytest.mark.parametrize(
    ("text", "by", "says"),
    [
        ("", ["age"], "empty"),
        ("age,region\n", ["age"], "no customers"),
        ("age,region\n1,2,3\n", ["age"], "line 2 has 3 cells"),
        ("age,region\n1,2\n3,4\n", ["city"], "no column 'city'"),
        ("age,region\n1,2\n1,4\n", ["age"], "same age"),
        ("age,age\n1,2\n", ["age"], "name of its own"),
        ("age,region\n1,2\n", [" "], "names no column"),
    ],
)
def test_a_table_that_makes_no_groups_is_refused(text: str, by: list[str], says: str) -> None:
    with pytest.raises(TableRefused, match=says):
        group_customers(text, by)
