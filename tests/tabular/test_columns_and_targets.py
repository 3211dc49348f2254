"""What columns become, targets, readers, and the file of a model."""

import copy
import io
import pickle
from decimal import Decimal

import numpy as np
import pytest

import fastnn
from fastnn.tabular import Columns, Pixels, Plan, TabularModel, Target, load_model, read, read_table

pandas = pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")


def mixed(count=40):
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "number": rng.standard_normal(count) * 7 + 3,
            "gaps": np.where(rng.random(count) < 0.3, np.nan, rng.random(count)),
            "code": rng.integers(0, 3, count),
            "flag": rng.random(count) < 0.5,
            "text": rng.choice(["x", "y", "z"], count),
            "day": pandas.date_range("2026-02-01", periods=count, freq="13h"),
            "written": pandas.date_range("2026-02-01", periods=count).strftime("%Y-%m-%d"),
            "waited": pandas.to_timedelta(rng.random(count), unit="D"),
            "constant": 5.0,
            "nothing": np.nan,
            "row": np.arange(count),
            "name": [f"name {i}" for i in range(count)],
        }
    )
    frame["perhaps"] = frame["flag"].astype(object).where(rng.random(count) < 0.7, None)
    frame.loc[::5, "text"] = None
    return frame


def test_what_columns_become():
    frame = mixed()
    columns = Columns.fit(frame, categorical=("code",))
    assert columns.numbers == ["number", "gaps", "flag", "waited", "perhaps"]
    assert columns.dates == ["day", "written"]
    assert columns.categories == ["code", "text"]
    assert columns.values == [["0", "1", "2"], ["", "x", "y", "z"]]
    assert columns.left_out == {
        "the same value in each row": ["constant"], "no value": ["nothing"], "it numbers the rows": ["row"],
        "nearly as many different texts as rows": ["name"],
    }  # fmt: skip
    inputs = columns.transform(frame)
    assert (inputs.dtype, inputs.shape) == (np.float32, (40, len(columns.names)))
    by_name = dict(zip(columns.names, inputs.T, strict=True))
    scaled = (frame["number"] - frame["number"].mean()) / frame["number"].std(ddof=0)
    np.testing.assert_allclose(by_name["number"], scaled, rtol=1e-6, atol=1e-7)
    assert (by_name["gaps is missing"] == frame["gaps"].isna()).all()
    filled = by_name["gaps"][frame["gaps"].isna()] * columns.scale[1] + columns.mean[1]
    np.testing.assert_allclose(filled, frame["gaps"].median(), rtol=1e-5)
    assert (by_name["text=y"] == (frame["text"] == "y")).all()
    assert (by_name["text is missing"] == frame["text"].isna()).all()
    assert (by_name["code=2"] == (frame["code"] == 2)).all()
    np.testing.assert_allclose(
        columns.in_units(inputs)[:, columns.names.index("day")], columns.matrix(frame)[:, 5], rtol=1e-6
    )
    kept = Columns.fit(frame, keep=("row", "name", "constant"), drop=("text",))
    assert {"row", "constant"} <= set(kept.numbers)
    assert kept.categories == ["name"]


SPELLED = """date; us date; named; amount; share; power; code; plan; price
1.2.2021; 1/2/2020 3:05 PM; Jan 2, 2020; 1.234,50 €; 5 %; ?; 007; basic ; 12.345,50 EUR
31.12.2021; 1/31/2020 12:00 AM; 31-Dec-2021; 2,25 €; 12,5 %; 90; 010; N/A ; 1.000,00 EUR
3.2.2021; 1/2/2020; March 3 2021; -3,00 €; 0 %; 70; 007; basic; 2,00 EUR
"""


def test_numbers_and_dates_in_the_spellings_of_spreadsheets(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(SPELLED, encoding="utf-8")
    frame = read_table(path)
    inputs = frame.drop(columns="price")
    columns = Columns.fit(inputs, categorical=("code",))
    assert (columns.numbers, columns.dates) == (["amount", "share", "power"], ["date", "us date", "named"])
    assert (columns.categories, columns.values[1]) == (["code", "plan"], ["", "basic"])
    expected = pandas.DataFrame(
        {
            "amount": [1234.5, 2.25, -3.0], "share": [5, 12.5, 0], "power": [np.nan, 90, 70],
            "date": ["2021-02-01", "2021-12-31", "2021-02-03"],
            "us date": ["2020-01-02 15:05", "2020-01-31 00:00", "2020-01-02 00:00"],
            "named": ["2020-01-02", "2021-12-31", "2021-03-03"], "code": ["7", "10", "7"],
            "plan": ["basic", None, "basic"],
        }
    )  # fmt: skip
    np.testing.assert_array_equal(columns.matrix(inputs), columns.matrix(expected))
    target = Target.fit("price", frame["price"], "regression")
    encoded = target.encode(frame["price"], np.float64)
    np.testing.assert_allclose(target.decode(encoded), [12345.5, 1000, 2])
    with pytest.raises(ValueError, match="the column 'share' must be a number, found 'some' in row 2"):
        columns.transform(inputs.assign(share=["5 %", "some", "?"]))
    with pytest.raises(ValueError, match=r"the column 'us date' must be a date .* found '31/1/2020' in row 1"):
        columns.transform(inputs.assign(**{"us date": "31/1/2020"}))


def test_the_order_of_day_and_month_is_kept():
    frame = pandas.DataFrame({"day": ["01/02/2026", "31/01/2026", "-"]})
    columns = Columns.from_dict(Columns.fit(frame).to_dict())
    days = columns.matrix(pandas.DataFrame({"day": ["01/02/2026", "2026-02-01", "1 Feb 2026", None]}))[:, 0]
    assert days[0] == days[1] == days[2] == (np.datetime64("2026-02-01") - np.datetime64("1970-01-01")).astype(int)
    assert np.isnan(days[3])
    data = columns.to_dict()
    for wrong in ("day", ["other"], None, [1]):
        with pytest.raises(ValueError, match="'day_first' must have names of dates"):
            Columns.from_dict({**data, "day_first": wrong})


@pytest.mark.parametrize(
    "values",
    [
        ["007", "008"], ["1.2.3", "1.2.4"], ["$5", "free"], ["1,23", "4,56"], ["5-10", "10-20"], ["30", "5"],
        ["?", "-"], ["31.02.2021", "01.01.2021"], ["13/13/2020", "1/1/2020"], ["May", "June"], ["+", "1%"],
    ],
)  # fmt: skip
def test_other_texts_stay_categories(values):
    frame = pandas.DataFrame({"text": values * 20})
    assert Columns.fit(frame).categories == ["text"]
    # Of another dtype, as of a Parquet file.
    assert Columns.fit(frame.astype("category")).categories == ["text"]


def test_a_class_has_no_spaces_around_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,Yes \n2,Yes\n3,No\n4, n/a \n")
    assert Target.fit("y", read_table(path)["y"].dropna()).classes == ["No", "Yes"]


def test_the_same_columns_from_plain_data():
    frame = mixed()
    columns = Columns.fit(frame)
    data = columns.to_dict()
    again = Columns.from_dict(pickle.loads(pickle.dumps(data)))
    other = frame.sample(frac=1, random_state=0)
    other.loc[other.index[:5], ["number", "day"]] = None
    other.loc[other.index[3:9], "text"] = "new"
    assert (columns.transform(other) == again.transform(other)).all()
    assert again.names == columns.names

    def are_plain(value):
        if isinstance(value, dict):
            return all(type(key) is str and are_plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(are_plain, value))
        return type(value) in (str, int, float)

    assert are_plain(data)
    # Whole numbers that are read as real ones, because one is missing, are the same categories.
    coded = Columns.fit(frame, categorical=("code",))
    floats = frame.assign(code=frame["code"].astype(float))
    assert (coded.transform(floats) == coded.transform(frame)).all()


def test_dates_may_be_numbers_in_later_rows():
    days = pandas.date_range("2026-01-01", periods=20).strftime("%Y-%m-%d")
    columns = Columns.fit(pandas.DataFrame({"when": days}))
    expected = columns.matrix(pandas.DataFrame({"when": ["2026-01-31", None]}))
    for values in ([20260131, None], ["20260131", None], pandas.array([20260131, None], "Int64")):
        np.testing.assert_array_equal(columns.matrix(pandas.DataFrame({"when": values})), expected)
    with pytest.raises(ValueError, match="must be a date such as 2026-01-31, found '45000' in row 1"):
        columns.matrix(pandas.DataFrame({"when": [45000]}))


def test_only_the_training_rows_have_numbers_that_count():
    frame = pandas.DataFrame({"a": [1.0, 3.0, 100.0, 100.0], "b": [5.0, 5.0, 6.0, 7.0], "c": [None, None, 1.0, 2.0]})
    columns = Columns.fit(frame, rows=np.array([0, 1]))
    # Nothing can be learned of b and c, but all rows decide what a column is.
    assert (columns.numbers, columns.mean.tolist(), columns.scale.tolist()) == (["a"], [2.0], [1.0])
    assert list(columns.left_out.values()) == [["b", "c"]]
    with pytest.raises(ValueError, match="no column is left"):
        Columns.fit(frame[["b", "c"]], rows=np.array([0, 1]))
    kept = Columns.fit(frame, rows=np.array([0, 1]), keep=("b", "c"))
    assert kept.numbers == ["a", "b", "c"]
    assert np.isfinite(kept.transform(frame)).all()
    with pytest.raises(ValueError, match="in row 4"):
        Columns.fit(frame.assign(a=[1, 2, 3, np.inf]), rows=np.array([0, 1]))


def test_values_that_are_rare_or_far_away():
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({"many": rng.integers(0, 500, 2000).astype(str), "x": rng.random(2000)})
    columns = Columns.fit(frame)
    assert len(columns.values[0]) == 64
    counts = frame["many"].value_counts()
    assert min(counts[value] for value in columns.values[0]) >= counts.iloc[64]
    assert columns.unknown(frame) == {}
    far = columns.transform(frame.assign(x=1e99))
    assert np.isfinite(far).all()
    with pytest.raises(ValueError, match="infinite number in row 1"):
        columns.transform(frame.assign(x=np.inf))
    with pytest.raises(ValueError, match="too large"):
        Columns.fit(frame.assign(x=1e200 * frame["x"]))


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["b", "a"] * 5, "classification", ["a", "b"]), ([True, False] * 5, "classification", [False, True]),
        ([3, 1, 2] * 5, "classification", [1, 2, 3]), ([3.0, 1.0] * 5, "classification", [1, 3]),
        ([0.5, 1.5] * 5, "regression", []), (list(range(30)), "regression", []),
        (["1", "x"] * 5, "classification", ["1", "x"]),
    ],
)  # fmt: skip
def test_what_a_target_is(values, kind, classes):
    for column in (pandas.Series(values), pandas.Series(values, dtype=object), np.array(values)):
        target = Target.fit("y", column)
        assert (target.kind, target.classes) == (kind, classes)
        assert Target.from_dict(target.to_dict()) == target
        encoded = target.encode(column)
        if classes:
            assert [target.classes[i] for i in encoded] == values
            assert target.decode(np.eye(len(classes))[encoded]).tolist() == values
            assert (target.encode(pandas.Series(values).astype(object)) == encoded).all()
        else:
            np.testing.assert_allclose(target.decode(encoded), values, rtol=1e-6, atol=1e-6)


def test_decimals_are_numbers():
    """As a database writes them to Parquet."""
    prices = pandas.Series([Decimal(i) / 3 for i in range(30)])
    target = Target.fit("price", prices)
    assert target.kind == "regression"
    np.testing.assert_allclose(target.decode(target.encode(prices)), [i / 3 for i in range(30)], rtol=0, atol=1e-5)


def test_targets_from_which_nothing_can_be_learned():
    for values, task, message in (
        (["a"] * 9, None, "only one class"), ([1.5] * 9, None, "only one value"), ([1] * 9, "regression", "only one"),
        ([str(i) for i in range(30)], None, "30 classes in 30 rows"), ([1.0, np.inf] * 5, None, "infinite"),
        (["a", "b"] * 5, "regression", "regression needs numbers"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Target.fit("y", pandas.Series(values), task)
    target = Target.fit("y", np.array(["a", "b"]))
    with pytest.raises(ValueError, match="has the class c, and the model knows a, b"):
        target.encode(np.array(["a", "c"]))


@pytest.mark.parametrize(
    ("text", "columns", "first"),
    [
        ("a,b\n1,x\n2,y\n", ["a", "b"], [1, "x"]), ("a;b\n1,5;x\n2,5;y\n", ["a", "b"], [1.5, "x"]),
        ("a\tb\n1\tx\n", ["a", "b"], [1, "x"]), ("a|b\n1|x\n", ["a", "b"], [1, "x"]),
        ('"a, b", c\n1, "x, y"\n', ["a, b", "c"], [1, "x, y"]), ("\ufeffa,b\n1,2\n", ["a", "b"], [1, 2]),
        (",a,\n1,2,3\n", ["Unnamed: 0", "a", "Unnamed: 2"], [1, 2, 3]),
        ("0,1,2\n3,4,5\n", ["0", "1", "2"], [3, 4, 5]), ("only\n1\n2\n", ["only"], [1]),
        ("a;b\n1,000;x, y\n", ["a", "b"], [1.0, "x, y"]),
        ('"two\nlines";b;c\n1,5;"x\ny";2\n', ["two\nlines", "b", "c"], [1.5, "x\ny", 2]),
        ('"two,\nlines";b\n"1,5";x\n', ["two,\nlines", "b"], [1.5, "x"]),
    ],
)  # fmt: skip
def test_dialects_of_csv(tmp_path, text, columns, first):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    frame = read_table(path)
    assert list(frame.columns) == columns
    assert frame.iloc[0].tolist() == first
    import gzip

    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert read_table(tmp_path / "a.csv.gz").equals(frame)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"), (b"\n\n", "empty"), (b"a,b\n", "no rows"), (b"1.5,2\n3,4\n", "--no-header"),
        (b"a,b\n\xe9,1\n", "not a text in utf-8: give its encoding, such as --encoding latin-1"),
        ("a,b\n1,2\n".encode("utf-16"), "such as --encoding utf-16"),
        (b"a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"), (b"a,b\n1,2,3\n", "more fields than the first"),
        (b"a,b\n\0\0\0", "zero bytes"), (b"a ,b,a\n1,2,3\n", "two columns are called 'a'"),
        (b"a,b,a\n1,2,3\n", "two columns are called 'a'"),
        (b"\xef\xbb\xbfa;b;b\n1;2;3\n", "two columns are called 'b'"),
    ],
)  # fmt: skip
def test_damaged_csv(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


def test_other_files(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"1,2\n3,4\n")
    assert read_table(tmp_path / "a.csv", header=False).to_dict("list") == {"1": [1, 3], "2": [2, 4]}
    (tmp_path / "l.csv").write_bytes(b"a\n\xe9\n")
    assert read_table(tmp_path / "l.csv", encoding="latin-1")["a"].tolist() == ["é"]
    for name, content in (("a.npz", b"junk"), ("a.parquet", b"junk"), ("a.xlsx", b"junk")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            read(tmp_path / name)
    np.savez(tmp_path / "b.npz", x=np.ones((4, 2)), y=np.ones(3))
    with pytest.raises(ValueError, match="4 rows of 'x', but 'y'"):
        read(tmp_path / "b.npz")


def model_of(frame, **options):
    columns = Columns.fit(frame)
    plan = Plan(len(columns.names), 2, (4,), **options)
    return TabularModel(plan.build(), plan, Target("y", "classification", ["no", "yes"]), columns)


def saved(model):
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return file


@pytest.mark.parametrize("options", [{}, {"batch_norm": True, "dropout": 0.5, "activation": "gelu"}])
def test_a_model_is_one_file(options):
    frame = mixed()
    model = model_of(frame, **options)
    state = fastnn.get_rng_state()
    again = load_model(saved(model))
    # Loading draws no numbers of the default generator.
    assert (state == fastnn.get_rng_state()).all()
    assert (again.predict_proba(frame) == model.predict_proba(frame)).all()
    assert (again.plan, again.target) == (model.plan, model.target)
    assert not again.network.training
    np.testing.assert_allclose(again.predict_proba(frame).sum(1), 1)


def test_files_that_are_something_else_or_damaged(tmp_path):
    model = model_of(mixed())
    data = fastnn.load(saved(model))

    def changed(**changes):
        file = io.BytesIO()
        fastnn.save({**data, **changes}, file)
        file.seek(0)
        return file

    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "evil"), "w")

    file = io.BytesIO()
    pickle.dump(Evil(), file, 2)
    file.seek(0)
    for damaged, message in (
        (file, "not a model"), (io.BytesIO(b"junk"), "not a model"), (io.BytesIO(), "not a model"),
        (io.BytesIO(saved(model).getvalue()[:999]), "not a model"), (changed(format="other"), "not a model"),
        (changed(version=99), "version 99"),
        (changed(plan={**data["plan"], "hidden": [10**9]}), "not those of the plan"),
        (changed(plan={**data["plan"], "activation": "none"}), "damaged"), (changed(target={}), "damaged"),
        (changed(columns={**data["columns"], "mean": [1.0]}), "do not fit"), (changed(state_dict={}), "damaged"),
        (changed(target={"name": "y", "kind": "classification", "classes": ["a"]}), "2 outputs for 1 classes"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            load_model(damaged)
    assert not (tmp_path / "evil").exists()


def places(data, at=()):
    """The path to each value of nested data, except the weights; of long lists the first two."""
    for key, value in list(data.items() if isinstance(data, dict) else enumerate(data[:2])):
        yield (*at, key)
        if isinstance(value, (dict, list)) and key not in ("training", "state_dict"):
            yield from places(value, (*at, key))


# What reads a file may find anywhere in it.
HOSTILE = [None, -1, 10**30, float("inf"), float("nan"), "x", [], {}, [[]], [None], True, [10**6], b"x"]


def test_a_model_file_with_any_other_value_is_refused_or_works():
    frame = mixed()
    data = fastnn.load(saved(model_of(frame)))
    found = list(places(data))
    assert ("columns", "mean", 0) in found
    refused = 0
    for number, path in enumerate(found):
        changed = copy.deepcopy(data)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        for value in (HOSTILE[number % len(HOSTILE)], HOSTILE[(3 * number + 5) % len(HOSTILE)]):
            inner[path[-1]] = value
            file = io.BytesIO()
            fastnn.save(changed, file)
            file.seek(0)
            try:
                model = load_model(file)
            except ValueError:
                refused += 1
            else:
                # Names of columns may be any texts; then the frame does not have them.
                if set(model.columns.names) == set(model_of(frame).columns.names):
                    assert model.predict(frame).shape == (len(frame),), (path, value)
    assert refused > len(found)


def test_a_model_file_with_values_of_another_kind_is_damaged():
    data = fastnn.load(saved(model_of(mixed())))
    columns, target, plan = data["columns"], data["target"], data["plan"]
    for name, part in (
        ("columns", {**columns, "indicated": [10**6]}),
        ("columns", {**columns, "scale": [0.0] * len(columns["scale"])}),
        ("columns", {**columns, "fill": [float("nan")] * len(columns["fill"])}),
        ("columns", {**columns, "values": [[] for _ in columns["values"]]}),
        ("columns", {**columns, "numbers": [None, *columns["numbers"][1:]]}),
        ("columns", {**columns, "left_out": [1]}), ("target", {**target, "name": ["y"]}),
        ("target", {**target, "classes": ["a", "a"]}), ("target", {**target, "classes": ["a", [1]]}),
        ("target", {**target, "scale": float("nan")}), ("plan", {**plan, "dropout": "much"}),
        ("plan", {**plan, "batch_norm": 3}), ("training", [1]),
    ):  # fmt: skip
        file = io.BytesIO()
        fastnn.save({**data, name: part}, file)
        file.seek(0)
        with pytest.raises(ValueError, match="damaged"):
            load_model(file)


def test_pictures_of_another_size_are_refused():
    plan = Plan(4, 2)
    model = TabularModel(plan.build(), plan, Target("y", "classification", [0, 1]), pixels=Pixels((2, 2), 1.0, 0.0))
    with pytest.raises(fastnn.ShapeError, match=r"reads pictures of the shape \(2, 2\), found \(3, 3\)"):
        model.predict(np.zeros((1, 3, 3), np.uint8))
    with pytest.raises(TypeError, match="uint8, found float64"):
        model.predict(np.zeros((1, 2, 2)))
    with pytest.raises(TypeError, match="tables with columns, found ndarray"):
        model_of(mixed()).predict(np.zeros((1, 2)))


@pytest.mark.torch
def test_torch_reads_the_weights():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = model_of(mixed())
    state = torch.load(saved(model), weights_only=True)["state_dict"]
    inputs = len(model.columns.names)
    theirs = torch.nn.Sequential(torch.nn.Linear(inputs, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    theirs.load_state_dict(state)
    x = model.inputs(mixed())
    np.testing.assert_allclose(theirs(torch.from_numpy(x)).detach().numpy(), model.outputs(x), rtol=1e-5, atol=1e-6)
