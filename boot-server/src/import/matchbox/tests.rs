use super::*;
use crate::import::render;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["groups", "profiles"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn imported(files: &[(&str, &str)]) -> Imported {
    import(&read(folder(files).path()).unwrap(), Options::default())
}

#[test]
fn the_example_is_what_the_import_prints() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/matchbox");
    let folder = read(&example.join("matchbox")).unwrap();
    let text = render(&import(&folder, Options { machines: true }), "matchbox").unwrap();
    let kept = std::fs::read_to_string(example.join("matchbox.yaml")).unwrap();
    assert_eq!(text, kept);
}

#[test]
fn what_matchbox_passes_over_is_left_out_and_told() {
    let imported = imported(&[
        (
            "groups/a.json",
            "{\"profile\": \"p\", \"selector\": {\"mac\": \"no\"}}",
        ),
        ("groups/b.json", "{"),
        ("groups/c.json", "{\"profile\": \"gone\"}"),
        ("groups/note.txt", "x"),
        ("groups/deeper/d.json", "{}"),
        (
            "profiles/p.json",
            "{\"id\": \"p\", \"ignition_id\": \"x.ign\"}",
        ),
        ("profiles/q.json", "{}"),
        (
            "profiles/old.json",
            "{\"id\": \"o\", \"boot\": {\"cmdline\": {\"a\": \"\"}, \"args\": []}, \
             \"ignition_id\": \"old.yaml\", \"spec\": 1}",
        ),
        ("ignition/old.yaml", "---\nsystemd:\n  units: []\n"),
        ("assets/x", ""),
    ]);
    let findings: Vec<String> = imported.findings.iter().map(ToString::to_string).collect();
    for part in [
        "left out: groups/a.json: \"no\" is no MAC",
        "left out: groups/b.json: it cannot be read",
        "to do: groups/c.json: profile: there is no profile \"gone\"",
        "left out: groups/note.txt: it does not end in .json",
        "left out: groups/deeper: it does not end in .json",
        "left out: profiles/p.json: ignition_id: there is no ignition/x.ign",
        "left out: profiles/q.json: it has no id",
        "left out: profiles/old.json: boot.cmdline: Matchbox does not read that",
        "left out: profiles/old.json: spec: Matchbox does not read that",
        "to do: ignition/old.yaml: a Container Linux Config",
        "changed: assets: its files are not in the manifests",
    ] {
        assert!(
            findings.iter().any(|it| it.starts_with(part)),
            "{part}: {findings:#?}"
        );
    }
    assert_eq!(imported.resources.len(), 3);
}

#[test]
fn names_become_names_of_resources() {
    let imported = imported(&[
        ("groups/Node_1.json", "{\"profile\": \"P.x\"}"),
        ("groups/node-1.json", "{\"profile\": \"P.x\"}"),
        ("groups/---.json", "{\"profile\": \"P.x\"}"),
        ("profiles/P.x.json", "{\"id\": \"P.x\"}"),
    ]);
    let names: Vec<&str> = imported
        .resources
        .iter()
        .map(|resource| resource.metadata().name.as_str())
        .collect();
    assert_eq!(names, ["p.x", "m2d2d2d", "node-1", "node-1-2"]);
    let text = render(&imported, "matchbox").unwrap();
    let loaded = boot_proto::manifest::load(&[boot_proto::manifest::SourceFile {
        name: "m".into(),
        text: text.into_bytes(),
    }]);
    assert!(loaded.mistakes.is_empty(), "{:?}", loaded.mistakes);
}

#[test]
fn another_folder_is_refused_with_what_to_give() {
    let dir = tempfile::tempdir().unwrap();
    let error = read(dir.path()).unwrap_err().to_string();
    assert!(error.contains("-data-path"), "{error}");
}
