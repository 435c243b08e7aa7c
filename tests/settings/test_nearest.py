from rslib.settings.nearest import nearest


def test_a_near_name_is_suggested():
    assert nearest("fgo", ["frost", "fog"]) == "; did you mean 'fog'?"


def test_a_far_name_only_ends_the_sentence():
    assert nearest("qqqq", {"frost": 1, "fog": 2}) == "."
    assert nearest(None, []) == "."
