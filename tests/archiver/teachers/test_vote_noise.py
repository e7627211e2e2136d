"""The noise of votes is in the paper's proportion to the number of teachers."""

from calpow.archiver.teachers.vote_noise import vote_settings


def test_the_settings_of_votes_are_in_the_papers_proportion() -> None:
    assert [vote_settings(teachers, None)["sigma"] for teachers in (50, 250)] == [2.0, 10.0]
    assert vote_settings(250, 20.0) == {"teachers": 250.0, "sigma": 10.0, "order": 20.0}
