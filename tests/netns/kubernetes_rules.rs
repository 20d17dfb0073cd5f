//! What the API server itself makes of our resources: every example is taken, and
//! what `boot-server check` finds is refused there too, where a schema or a rule
//! can see it.

use std::collections::HashSet;
use std::fs;

use moonfarm_tests::charts::checkout;
use moonfarm_tests::lab::process::output;

use crate::kubernetes_agent::Lab;

/// Lines of `tests/fixtures/kubernetes`, and who is to find a mistake in them.
const TABLES: [(&str, Verdicts); 3] = [
    ("refused.txt", (Finds, Finds)),
    // A rule sees one object.
    ("taken-alone.txt", (Finds, Takes)),
    ("right.txt", (Takes, Takes)),
];

/// What `boot-server check` makes of an object, and what the API server does.
type Verdicts = (Verdict, Verdict);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Takes,
    Finds,
}
use Verdict::{Finds, Takes};

/// An object of a table.
struct Line {
    name: String,
    text: String,
}

#[test]
fn examples_are_taken_and_mistakes_refused() {
    let Some(lab) = Lab::new() else { return };
    definitions_are_taken_without_a_warning(&lab);
    every_example_is_taken(&lab);
    let mut wrong = Vec::new();
    for (table, (by_check, by_api_server)) in TABLES {
        let lines = lines(table);
        let (taken, told) = taken(&lab, &lines);
        for line in lines {
            let checked = check(&lab, &line.text);
            if checked.is_empty() != (by_check == Takes) {
                wrong.push(format!("{table}: {}: check: {checked:?}", line.text));
            }
            if taken.contains(&line.name) != (by_api_server == Takes) {
                wrong.push(format!("{table}: {}: API server: {told}", line.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The objects of a table, each with a name of its own.
fn lines(table: &str) -> Vec<Line> {
    let file = checkout().join("tests/fixtures/kubernetes").join(table);
    let text = fs::read_to_string(file).unwrap();
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let lines = lines.map(|(number, line)| {
        let [kind, name, spec] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let name = match name {
            "-" => format!("line{}", number + 1),
            name => name.to_owned(),
        };
        let text = format!(
            "apiVersion: moonfarm.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        Line { name, text }
    });
    let lines: Vec<Line> = lines.collect();
    assert!(lines.len() > 5, "{table}");
    lines
}

fn definitions_are_taken_without_a_warning(lab: &Lab) {
    let folder = checkout().join("deploy/crds").display().to_string();
    let words = ["apply", "--server-side", "--dry-run=server", "-f", &folder];
    let answer = lab.plane.kubectl(&words).unwrap();
    assert!(answer.status.success());
    assert_eq!(String::from_utf8_lossy(&answer.stderr), "");
}

fn every_example_is_taken(lab: &Lab) {
    let mut count = 0;
    for entry in fs::read_dir(checkout().join("deploy/examples")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        lab.kubectl(&format!("create namespace {name}"));
        // Manifests lie in the folder itself.
        let manifests = fs::read_dir(&folder).unwrap().filter_map(|file| {
            let path = file.unwrap().path();
            path.extension()
                .is_some_and(|it| it == "yaml")
                .then_some(path)
        });
        for file in manifests {
            let file = file.display().to_string();
            let words = [
                "apply",
                "--server-side",
                "--validate=strict",
                "-n",
                &name,
                "-f",
                &file,
            ];
            let taken = lab.plane.kubectl_output(&words);
            let taken = taken.unwrap_or_else(|error| panic!("{file}: {}", error.chain()));
            count += taken.lines().count();
        }
    }
    assert!(count > 30, "{count} objects");
}

/// What `boot-server check` finds in an object.
fn check(lab: &Lab, text: &str) -> String {
    let folder = lab.path("manifests");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("mistake.yaml"), text).unwrap();
    let mut check = lab.network.command(lab.programs.join("boot-server"));
    check.args(["check", "--manifests"]).arg(&folder);
    output(check).map_or_else(|error| error.chain(), |_| String::new())
}

/// It is taken, so all before it were looked at.
const LAST: &str = "apiVersion: moonfarm.dev/v1alpha1\nkind: Image\nmetadata: {name: last}\nspec: {digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}\n";

/// Names of the objects that the API server takes, and why it does not take others.
fn taken(lab: &Lab, lines: &[Line]) -> (HashSet<String>, String) {
    let file = lab.path("objects.yaml");
    let mut texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    texts.push(LAST);
    fs::write(&file, texts.join("---\n")).unwrap();
    let file = file.display().to_string();
    let words = [
        "apply",
        "--server-side",
        "--validate=strict",
        "--dry-run=server",
        "-o",
        "name",
        "-f",
        &file,
    ];
    let answer = lab.plane.kubectl(&words).unwrap();
    let names = String::from_utf8_lossy(&answer.stdout);
    let names = names.lines().filter_map(|line| line.split_once('/'));
    let names: HashSet<String> = names.map(|(_, name)| name.to_owned()).collect();
    let told = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(names.contains("last"), "not all were looked at: {told}");
    (names, told)
}
