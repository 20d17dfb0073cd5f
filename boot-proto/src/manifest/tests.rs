//! Tests of the loader: one bad manifest a mistake, with the line it is found at.

mod node;
mod reading;
mod semantics;
mod values;

use super::{Loaded, SourceFile, load};

/// Loads one file named `a.yaml`.
fn load_text(text: &str) -> Loaded {
    load(&[SourceFile {
        name: "a.yaml".into(),
        text: text.into(),
    }])
}

/// Puts a spec below the head of a resource; its first line is line 4.
fn resource(kind: &str, name: &str, spec: &str) -> String {
    let mut text = format!(
        "apiVersion: moonfarm.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n"
    );
    for line in spec.trim_matches('\n').lines() {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Checks that exactly these mistakes are found: `LINE: words` each, the words
/// being a part of the mistake's text.
#[track_caller]
fn check(text: &str, expected: &[(usize, &str)]) {
    let loaded = load_text(text);
    let shown: Vec<String> = loaded.mistakes.iter().map(ToString::to_string).collect();
    let all = shown.join("\n");
    assert_eq!(
        loaded.mistakes.len(),
        expected.len(),
        "in:\n{text}\nfound:\n{all}"
    );
    for (mistake, (line, words)) in loaded.mistakes.iter().zip(expected) {
        let text = mistake.to_string();
        assert!(
            text.contains(words) && mistake.line == *line,
            "want {line}: {words}\nfound:\n{all}"
        );
        assert!(text.starts_with(&format!("a.yaml:{line}:")), "{text}");
    }
}

fn all(parts: &[String]) -> String {
    parts.join("---\n")
}

/// A machine with a MAC of its own that ends in `n`; its spec begins in line 5.
fn machine(name: &str, n: u8, more: &str) -> String {
    resource(
        "Machine",
        name,
        &format!("  macs: [94:57:a5:00:00:{n:02x}]\n{more}"),
    )
}
