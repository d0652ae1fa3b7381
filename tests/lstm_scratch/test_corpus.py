"""A folder or manifest is read as it stands, and each mistake in one is told with its line and a fix."""

import re
from pathlib import Path

import pytest

from lstm_scratch.corpus import Corpus, read_corpus
from lstm_scratch.errors import DataError

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def manifest(tmp_path):
    """Write a manifest next to four (empty) recordings; read_corpus does not open them."""
    for name in "abcd":
        (tmp_path / f"{name}.wav").touch()

    def write(text, encoding="utf-8"):
        path = tmp_path / "list.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_has_a_class_per_folder_in_alphabetical_order(tmp_path):
    touch(tmp_path, "yes/b.wav", "yes/a.FLAC", "no/z.ogg", "no/anna/2.mp3", "no/anna/1.wav")
    corpus = read_corpus(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in corpus.paths]
    assert names == ["no/anna/1.wav", "no/anna/2.mp3", "no/z.ogg", "yes/a.FLAC", "yes/b.wav"]
    assert corpus.labels == ["no", "no", "no", "yes", "yes"]
    assert (corpus.name, len(corpus)) == (str(tmp_path), 5)
    assert (corpus.group_column, corpus.groups, corpus.parts, corpus.folds) == (None, None, None, None)


@pytest.mark.parametrize(
    "ignored",
    [
        *("yes/notes.txt", "yes/cover.jpg", "yes/wav", "b.wav", "yes/b.wav/notes.txt"),
        *("yes/.b.wav", "yes/._a.wav", ".hidden/b.wav", "yes/.trash/b.wav"),
    ],
)
def test_what_is_hidden_or_no_recording_of_a_class_is_ignored(tmp_path, ignored):
    touch(tmp_path, "yes/a.wav", ignored)
    assert list(read_corpus(tmp_path).paths) == [tmp_path / "yes" / "a.wav"]


def test_a_manifest_in_a_folder_goes_before_its_class_folders(tmp_path):
    touch(tmp_path, "yes/a.wav", "yes/b.wav")
    (tmp_path / "manifest.csv").write_text("path,label\nyes/b.wav,maybe\n")
    corpus = read_corpus(tmp_path)
    assert (list(corpus.paths), corpus.labels) == ([tmp_path / "yes" / "b.wav"], ["maybe"])
    assert corpus.name == str(tmp_path / "manifest.csv")


@pytest.mark.parametrize("column", ["speaker", "source", "group"])
def test_a_manifest_gives_labels_groups_parts_and_folds_in_its_order(manifest, tmp_path, column):
    text = f"path,label,{column},split,fold\nb.wav,yes,anna,train,2\na.wav,no,bob,test,10\n"
    corpus = read_corpus(manifest(text))
    assert list(corpus.paths) == [tmp_path / "b.wav", tmp_path / "a.wav"]
    assert corpus.labels == ["yes", "no"]
    assert (corpus.group_column, corpus.groups) == (column, ["anna", "bob"])
    assert (corpus.parts, corpus.folds) == (["training", "test"], ["2", "10"])


def test_a_manifest_may_come_from_a_spreadsheet(manifest, tmp_path):
    """A byte order mark, capitals, spaces, quotes, CRLF, blank lines, columns of no concern."""
    text = '\ufeff Label , PATH,Remark,Speaker\r\n"yes, sir", a.wav ,loud,anna\r\n\r\nno,b.wav,,bob\r\n'
    corpus = read_corpus(manifest(text))
    assert list(corpus.paths) == [tmp_path / "a.wav", tmp_path / "b.wav"]
    assert (corpus.labels, corpus.groups) == (["yes, sir", "no"], ["anna", "bob"])


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("training", ["train", "training", "Train"]),
        ("validation", ["val", "valid", "validation", "dev", "DEV", "development"]),
        ("test", ["test", "testing", "TEST"]),
    ],
)
def test_split_words_have_synonyms(manifest, part, words):
    for word in words:
        assert read_corpus(manifest(f"path,label,split\na.wav,yes,{word}\n")).parts == [part]


@pytest.mark.parametrize("nobody", ["", " ", "none", "None"])
def test_clips_of_nobody_stand_alone(manifest, nobody):
    rows = [f"{name}.wav,x,{nobody}\n" for name in "abc"]
    groups = read_corpus(manifest("".join(["path,label,speaker\n", *rows, "d.wav,x,nonet\n"]))).groups
    assert len(set(groups)) == 4
    assert groups[3] == "nonet"


def test_take_selects_in_the_order_asked_for():
    paths = [Path(name) for name in "abc"]
    corpus = Corpus("n", paths, ["x", "y", "z"], "speaker", ["s", "t", "u"], ["test"] * 3, ["1", "2", "3"])
    assert corpus.take([2, 0]) == Corpus(
        "n", [Path("c"), Path("a")], ["z", "x"], "speaker", ["u", "s"], ["test"] * 2, ["3", "1"]
    )
    assert Corpus("n", paths, ["x", "y", "z"]).take([1]) == Corpus("n", [Path("b")], ["y"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,split\na.wav,test\n", ["no column 'label'", "path, split", "path,label[,speaker"]),
        ("file,label\na.wav,x\n", ["no column 'path'", "file, label", "path,label[,speaker"]),
        ("", ["no column 'path'", "path,label[,speaker"]),
        ("path,label\na.wav,x\nb.wav,x\n./a.wav,y\n", ["line 4", "./a.wav", "line 2", "remove one"]),
        ("path,label\na.wav,x\n\nno.wav,x\n", ["line 4", "no.wav is missing", "add the file or remove"]),
        ("path,label\nno.wav,x\na.wav,x\nnor.wav,x\n", ["line 2", "no.wav", "(and 1 more)", "relative"]),
        (
            "path,label,split\na.wav,x,train\nb.wav,x,tset\n",
            ["line 3", "'tset'", "train, validation or test"],
        ),
        ("path,label\na.wav,x\nb.wav, \n", ["line 3", "no label", "fill in"]),
        ("path,label\n,x\n", ["line 2", "no path", "fill in"]),
        ("path,label,split\na.wav,x,\n", ["line 2", "no split", "fill in"]),
        ("path,label,fold\na.wav,x,\n", ["line 2", "no fold", "fill in"]),
        ("path,label\na.wav,x\nb.wav,x,z\n", ["line 3", "3 cells for 2 columns", "mend"]),
        ("path,label\na.wav\n", ["line 2", "1 cells for 2 columns", "mend"]),
        ("path,label,group,speaker\na.wav,x,1,2\n", ["speaker and group", "keep the one"]),
        ("path,label\n", ["a header and no recordings", "add a line"]),
        ('path,label\n"a.wav,x\n', ["no CSV file", "a manifest is wanted"]),
    ],
)
def test_a_mistake_in_a_manifest_is_told_with_its_place_and_a_fix(manifest, text, said):
    path = manifest(text)
    with pytest.raises(DataError) as error:
        read_corpus(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for words in said:
        assert words in message


def test_text_in_another_encoding_is_no_manifest(manifest):
    path = manifest("path,label\na.wav,größer\n", "latin-1")
    with pytest.raises(
        DataError, match=re.escape(f"{path}: no CSV file in UTF-8") + ".*a manifest is wanted"
    ):
        read_corpus(path)


def test_a_recording_given_as_manifest_is_refused_in_one_line(tones):
    path = tones / "rising" / "0.wav"
    with pytest.raises(DataError) as error:
        read_corpus(path)
    assert str(error.value).startswith(f"{path}: no CSV file in UTF-8")
    assert "\n" not in str(error.value)


def test_nothing_there_is_told(tmp_path):
    with pytest.raises(
        DataError, match=re.escape(f"{tmp_path / 'x'}: no such file or folder; name a folder")
    ):
        read_corpus(tmp_path / "x")


@pytest.mark.parametrize("content", ["yes/notes.txt", "a.wav"])
def test_a_folder_without_recordings_in_class_folders_is_told(tmp_path, content):
    touch(tmp_path, content)
    with pytest.raises(
        DataError, match=re.escape(f"{tmp_path}: no recordings; put them in one folder per class")
    ):
        read_corpus(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the recordings in {SHARED}")
def test_real_manifests_are_read_as_their_tables_stand():
    digits = read_corpus(SHARED / "fsdd" / "manifest.csv")
    assert (len(digits), digits.parts.count("test"), len(set(digits.groups))) == (3000, 300, 6)
    assert {label: digits.labels.count(label) for label in "0123456789"} == dict.fromkeys("0123456789", 300)


def test_one_recording_under_two_names_is_there_twice(manifest, tmp_path):
    path = manifest("path,label\na.wav,x\nb.wav,y\n")
    path.write_text(f"path,label\na.wav,x\n{tmp_path}/./../{tmp_path.name}/a.wav,x\n")
    with pytest.raises(DataError, match=r"line 3: .*a\.wav stands in line 2 already"):
        read_corpus(path)


def test_a_column_that_stands_twice_is_told(manifest):
    with pytest.raises(DataError, match="a column stands twice in its first line"):
        read_corpus(manifest("path,label,label\na.wav,x,y\n"))
