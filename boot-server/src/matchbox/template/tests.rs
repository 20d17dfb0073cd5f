//! Templates beside what Matchbox 0.11.0 made of them: `corpus.json` holds pairs
//! of a template and its answer, `null` for one that got a 404. The group and the
//! request were those below.

use boot_proto::resources::MatchboxGroupSpec;
use serde_json::json;

use super::*;
use crate::matchbox::{labels, variables};

fn values() -> Value {
    let group: MatchboxGroupSpec = serde_json::from_value(json!({
        "profile": "p",
        "selector": {"n": "0", "MAC": "52-54-00-A1-9C-AE", "HostKey": "sel"},
        "metadata": {
            "name": "node1", "count": 3, "big": 1_000_000, "huge": 123_456_789_012_u64,
            "small": 0.00001, "half": 0.5, "neg": -7, "twentyone": 1e21, "one": 1, "zero": 0,
            "yes": true, "no": false, "null": null, "empty": "", "emptylist": [], "emptymap": {},
            "list": ["a", "b", "c"], "maps": [{"k": "v0"}, {"k": "v1"}],
            "nested": {"inner": "in", "deep": {"leaf": "L"}, "n": 1},
            "mixed": ["s", 1, true, null, {"a": 1}, [1, 2]],
            "request": {"query": "overwritten"}, "HostKey": "meta",
        },
    }))
    .unwrap();
    let query = "n=0&MAC=52:54:00:a1:9c:ae&mac=5254.00A1.9CAE&HostKey=sel&foo=bar&foo=baz&x=a%20b";
    variables(&group, &labels(query), query)
}

fn render(template: &str) -> Result<String, TemplateError> {
    Template::parse(template)?.render(&values())
}

#[test]
fn as_matchbox_renders_them() {
    let corpus: Vec<(String, Option<String>)> =
        serde_json::from_str(include_str!("corpus.json")).unwrap();
    assert!(corpus.len() > 150);
    let mut wrong = Vec::new();
    for (template, expected) in corpus {
        let rendered = render(&template);
        if rendered.as_ref().ok() != expected.as_ref() {
            wrong.push(format!(
                "{template}\n  is  {rendered:?}\n  not {expected:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn nothing_takes_for_ever_or_fills_the_memory() {
    let deep = format!("{}x{}", "{{if 1}}".repeat(5_000), "{{end}}".repeat(5_000));
    let parens = format!("{{{{{}1{}}}}}", "(".repeat(5_000), ")".repeat(5_000));
    let double = format!("{{{{$x := .name}}}}{}", "{{$x = print $x $x}}".repeat(60));
    for template in [
        deep.as_str(),
        &parens,
        &double,
        "{{range 1000000000}}x{{end}}",
        "{{range 1000000000}}{{range 1000000000}}{{end}}{{end}}",
        "{{define \"R\"}}{{template \"R\" .}}{{end}}{{template \"R\" .}}",
        "{{define \"R\"}}{{template \"R\" .}}{{template \"R\" .}}{{end}}{{template \"R\" .}}",
        "{{range 100000}}{{printf \"%99999d\" 1}}{{end}}",
        "{{printf \"%999999999999d\" 1}}",
        &"x".repeat(MAX_TEMPLATE + 1),
    ] {
        let shown: String = template.chars().take(60).collect();
        assert!(render(template).is_err(), "{shown}");
    }
}

#[test]
fn a_mistake_tells_its_line() {
    let error = render("a\nb {{.name}\n").unwrap_err();
    assert_eq!(error.to_string(), "line 2: bad character");
    let error = render("{{.missing}}").unwrap_err().to_string();
    assert_eq!(error, "map has no entry for key \"missing\"");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "{{", "}}", " ", "-", ".", ".name", "$x", ":=", "=", "|", "(", ")", "if", "else",
                "end", "range", "with", "define", "template", "block", "\"", "`", "'", "\\", "1",
                "0x", "print", "printf", "index", "slice", ".list", "/*", "*/", "é", "\n", "%",
                "break", "nil", "eq", ",",
            ]),
            0..40,
        )
    ) {
        let _ = render(&parts.concat());
    }
}
