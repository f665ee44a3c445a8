"""The part of Go's templates that formats are written in."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.cli.containers.core.evaluate import Template
from sampan.cli.containers.core.table import listing
from sampan.cli.containers.core.template import TemplateError

DATA: dict[str, Any] = {
    "Name": "web",
    "Count": 3,
    "On": True,
    "Empty": [],
    "Nothing": None,
    "State": {"Status": "running", "ExitCode": 0},
    "Env": ["A=1", "B=2"],
    "Labels": {"b": "2", "a": "1"},
    "Ports": {"80/tcp": [{"HostPort": "8080"}]},
}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{{.Name}} {{ .Count }} {{.On}}", "web 3 true"),
        ("{{.State.Status}}/{{.State.ExitCode}}", "running/0"),
        ("{{json .Env}} {{json .State}}", '["A=1","B=2"] {"Status":"running","ExitCode":0}'),
        ("{{.Env}} {{.Labels}} {{.Empty}}", "[A=1 B=2] map[a:1 b:2] []"),
        ("{{range .Env}}<{{.}}>{{end}}", "<A=1><B=2>"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $e := .Env}}{{if $i}}, {{end}}{{$e}}{{end}}", "A=1, B=2"),
        ("{{if .On}}yes{{else}}no{{end}}", "yes"),
        ("{{if .Missing}}yes{{else if eq .Count 3}}three{{else}}no{{end}}", "three"),
        ("{{with .State}}{{.Status}} {{$.Name}}{{end}}", "running web"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{index .Labels "a"}} {{index .Env 1}}', "1 B=2"),
        ('{{join .Env ","}} {{upper .Name}} {{.Name | printf "%-5s|"}}', "A=1,B=2 WEB web  |"),
        ('{{printf "%s has %d%%" .Name .Count}}', "web has 3%"),
        ('{{len .Env}} {{eq .Name "web" "x"}} {{and .On (not .Empty)}} {{or .Empty "e"}}',
         "2 true true e"),
        ("a {{- /* not this */ -}} b {{- .Name -}} c", "abwebc"),
        ("{{`raw \\n`}}{{\"\\t\"}}{{println .Name}}", "raw \\n\tweb\n"),
        ('{{range (split .Name "e")}}[{{.}}]{{end}}', "[w][b]"),
        ("{{.Nothing}} {{true}} {{1.5}}", "<no value> true 1.5"),
    ],
)  # fmt: skip
def test_what_a_template_makes(text: str, wanted: str) -> None:
    assert Template(text).fill(DATA) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{.Missing}}", 'map has no entry for key "Missing"'),
        ("{{.Name.X}}", "can't evaluate field X in type string"),
        ("{{nosuch .Name}}", 'function "nosuch" not defined'),
        ("{{.Name", "unclosed action"),
        ("{{if .On}}x", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ('{{template "x"}}', "{{template}} is not supported"),
        ("{{index .Env 9}}", "index out of range: 9"),
        ("{{$y}}", 'undefined variable "$y"'),
        ("{{(.Name}}", "unclosed left paren"),
        ("{{range .Name}}{{end}}", "range can't iterate over web"),
        ("{{lt .Name 3}}", "error calling lt"),
        ("{{}}", "missing value for command"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(text).fill(DATA)
    assert words in str(caught.value)


ROWS = [
    {"ID": "1", "Name": "first", "Label": lambda name: f"<{name}>"},
    {"ID": "22", "Name": "second-with-a-long-name", "Label": lambda name: ""},
]


def test_a_table_is_aligned_under_its_titles() -> None:
    shown = listing(
        r"table {{.Name}}\t{{.ID}}\t{{.Label \"x.part\"}}".replace('\\"', '"'),
        "",
        {"ID": "THE ID"},
        ROWS,
    )
    assert shown.splitlines() == [
        "NAME                      THE ID    part",
        "first                     1         <x.part>",
        "second-with-a-long-name   22        ",
    ]


def test_a_list_in_other_forms() -> None:
    assert listing("json", "", {}, ROWS).splitlines()[0] == '{"ID":"1","Name":"first"}'
    assert listing("{{.ID}}", "", {}, ROWS) == "1\n22\n"
    assert listing("", r"{{.ID}}\t{{.Name}}", {}, []) == "ID        NAME\n"
    with pytest.raises(TemplateError, match=r"failed to execute template: .*Foo"):
        listing("{{.Foo}}", "", {}, ROWS)
    with pytest.raises(TemplateError, match="failed to parse template: "):
        listing("{{foo}}", "", {}, ROWS)
