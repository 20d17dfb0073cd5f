use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use boot_proto::hardware_profile::CliRules;
use boot_proto::ids::SlotId;
use boot_proto::resources::ObservedPower;
use proptest::prelude::*;

use super::*;
use crate::profiles::Profiles;

fn rules() -> CliRules {
    rules_of("hpe-moonshot-1500")
}

fn rules_of(profile: &str) -> CliRules {
    let profiles = Profiles::built_in().unwrap();
    profiles.named(profile).unwrap().cli.clone().unwrap()
}

/// What a transcript must be read as, by slot.
fn check(command: &str, raw: &[u8], expected: &str) {
    let is_manager_2 = ["show blades", "show node mgmtaddr4"]
        .iter()
        .any(|beginning| command.starts_with(beginning));
    let rules = rules_of(if is_manager_2 {
        "hpe-moonshot-cm2"
    } else {
        "hpe-moonshot-1500"
    });
    let answer = clean(raw, command, &rules);
    let asked: Option<SlotId> = command
        .rsplit(' ')
        .next()
        .and_then(|word| word.parse().ok());
    let read = |expected: &str| -> BTreeMap<SlotId, ObservedPower> {
        serde_yaml_ng::from_str(expected).unwrap()
    };
    if command == "show node list" || command.starts_with("show node mgmtaddr4") {
        let nodes = parse_list(&answer, &rules).unwrap_or_else(|| panic!("no list: {answer:?}"));
        let nodes: BTreeMap<_, _> = nodes.iter().map(|node| (node.slot, node.power)).collect();
        assert_eq!(nodes, read(expected), "{command}");
    } else if command.starts_with("show node macaddr") {
        let nodes = parse_macs(&answer, &rules).unwrap_or_else(|| panic!("no table: {answer:?}"));
        let shown: BTreeMap<SlotId, Vec<String>> = nodes
            .into_iter()
            .map(|(slot, nics)| (slot, nics.iter().map(show_nic).collect()))
            .collect();
        let expected: BTreeMap<SlotId, Vec<String>> = serde_yaml_ng::from_str(expected).unwrap();
        assert_eq!(shown, expected, "{command}");
    } else if command.starts_with("show node power") {
        assert_eq!(
            parse_power(&answer, asked, &rules),
            read(expected),
            "{command}"
        );
    } else if command.starts_with("show node info") || command.starts_with("show blades") {
        let expected: BTreeMap<SlotId, BTreeMap<String, String>> =
            serde_yaml_ng::from_str(expected).unwrap();
        let slots: Vec<SlotId> = expected.keys().copied().collect();
        let facts = parse_facts(&answer, asked, &slots, &rules);
        let shown: BTreeMap<SlotId, BTreeMap<String, String>> = facts
            .into_iter()
            .map(|(slot, facts)| (slot, show_facts(facts)))
            .collect();
        assert_eq!(shown, expected, "{command}");
    } else {
        panic!("no parser for {command}");
    }
}

fn show_nic(nic: &ListedNic) -> String {
    format!(
        "{} {} {}",
        nic.number,
        nic.mac,
        nic.switch.as_deref().unwrap_or("-")
    )
}

fn show_facts(facts: Facts) -> BTreeMap<String, String> {
    let Facts {
        manufacturer,
        model,
        serial,
        uuid,
        nics,
    } = facts;
    let nics = nics.iter().map(show_nic).collect::<Vec<_>>().join(", ");
    [
        ("manufacturer", manufacturer),
        ("model", model),
        ("serial", serial),
        ("uuid", uuid),
        ("nics", Some(nics).filter(|nics| !nics.is_empty())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// Every transcript has a file with what is in it, and the other way round.
#[test]
fn transcripts_are_read_as_people_read_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/moonshot");
    let files = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    };
    let mut seen = 0;
    for firmware in files(&folder) {
        for path in files(&firmware) {
            let pair = match path.extension().and_then(|e| e.to_str()) {
                Some("raw") => path.with_extension("yaml"),
                Some("yaml") => path.with_extension("raw"),
                _ => panic!("{} is neither raw nor yaml", path.display()),
            };
            assert!(
                pair.exists(),
                "{} has no {}",
                path.display(),
                pair.display()
            );
            if path.extension().is_some_and(|e| e == "raw") {
                let command = path
                    .file_stem()
                    .unwrap()
                    .to_string_lossy()
                    .replace('-', " ");
                let expected = std::fs::read_to_string(pair).unwrap();
                println!("{}", path.display());
                check(&command, &std::fs::read(&path).unwrap(), &expected);
                seen += 1;
            }
        }
    }
    assert!(seen >= 12, "only {seen} transcripts");
}

#[test]
fn echo_prompt_and_escapes_are_no_answer() {
    let rules = rules();
    for (raw, expected) in [
        (
            "show firmware\r\r\nInvalid command\r\n",
            vec!["Invalid command"],
        ),
        (
            "hpiLO-> show firmware\r\nInvalid command\r\n\r\nhpiLO-> ",
            vec!["Invalid command"],
        ),
        ("</>hpiLO-> show firmware\r\nok\r\n</>hpiLO->", vec!["ok"]),
        ("\u{1b}[0;32mok\u{1b}[0m\r\nMP> ", vec!["ok"]),
        ("sho\u{8}\u{8}\u{8}show firmware\nok", vec!["ok"]),
        ("ok", vec!["ok"]),
        ("", vec![]),
        ("\r\n\r\n", vec![]),
        // Greetings, other letter cases, two echoes, and what terminals get.
        (
            "Access denied to others\r\nhpiLO-> Show Firmware\r\r\nshow firmware\r\n\r\n\r\nok\r\n",
            vec!["", "", "ok"],
        ),
        (
            "\u{1b}]0;hpiLO\u{7}\u{1b}(B\u{1b}[?25l\u{9b}1mok\u{1b}=\r\r\n",
            vec!["ok"],
        ),
        // A prompt behind the last row.
        ("one\r\ntwo OK hpiLO-> ", vec!["one", "two OK"]),
        ("1 9c:b6:54:01:01:02hpiLO->", vec!["1 9c:b6:54:01:01:02"]),
        // A pager, wiped out in three ways.
        (
            "1 a\r\n--More--\r        \r2 b\r\n-- more --\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}3 c\r\n\u{1b}[7mPress any key\u{1b}[m\r\u{1b}[K4 d\r\n",
            vec!["1 a", "2 b", "3 c", "4 d"],
        ),
        // A row that holds the command's words is an answer.
        ("a show firmware b\n", vec!["a show firmware b"]),
    ] {
        assert_eq!(
            clean(raw.as_bytes(), "show firmware", &rules).lines,
            expected,
            "{raw:?}"
        );
    }
}

#[test]
fn what_came_ends_with_a_prompt_a_pager_or_neither() {
    let rules = rules();
    let known = Some("Moonshot CM ->");
    for (raw, prompt, expected) in [
        ("text\r\nhpiLO-> ", None, Ending::Prompt),
        ("HPILO->", None, Ending::Prompt),
        ("\r\nmoonshot1-> ", None, Ending::Prompt),
        ("\r\n</>hpiLO-> ", None, Ending::Prompt),
        ("\r\nmp> ", None, Ending::Prompt),
        ("hpiLO-> show node list", None, Ending::Open),
        ("hpiLO-> \r\n", None, Ending::Open),
        ("", None, Ending::Open),
        ("a b->", None, Ending::MaybePrompt),
        ("Moonshot CM -> ", None, Ending::MaybePrompt),
        ("45 c45n1 OKMoonshot CM -> ", known, Ending::Prompt),
        ("row\r\n--MORE-- ", None, Ending::Pager),
        (
            "row\r\n\u{1b}[7mPress any key to continue\u{1b}[m",
            None,
            Ending::Pager,
        ),
        ("--More--\r\nrow", None, Ending::Open),
    ] {
        assert_eq!(ending(raw.as_bytes(), prompt, &rules), expected, "{raw:?}");
    }
    let learned = prompt_of(b"Welcome\r\nMoonshot CM -> ", &rules);
    assert_eq!(learned.as_deref(), known);
    let answer = clean_with(b"x\r\n1 2Moonshot CM -> ", "x", known, &rules);
    assert_eq!(answer.lines, ["1 2"]);
    let answer = clean_with(
        b"Moonshot CM -> x\r\n1\r\nMoonshot CM -> ",
        "x",
        known,
        &rules,
    );
    assert_eq!(answer.lines, ["1"]);
}

#[test]
fn an_answer_that_is_no_table_is_none() {
    let rules = rules();
    for text in [
        "",
        "Invalid command\r\n",
        "hello\r\nworld\r\n",
        "c1 n1\r\n",
        "-----\r\n",
    ] {
        let answer = clean(text.as_bytes(), "x", &rules);
        assert_eq!(parse_list(&answer, &rules), None, "{text:?}");
        assert_eq!(parse_macs(&answer, &rules), None, "{text:?}");
    }
}

#[test]
fn what_is_too_much_is_left_out() {
    let mut rules = rules();
    rules.limits.nodes = 3;
    let mut text = format!("{}\r\n", "x".repeat(9000));
    for slot in 1..=9 {
        text.push_str(&format!(" {slot} c{slot}n1 On\r\n"));
    }
    text.push_str(" 1 c1n1 Off\r\n");
    let answer = clean(text.as_bytes(), "show node list", &rules);
    let nodes = parse_list(&answer, &rules).unwrap();
    assert_eq!(nodes.len(), 3);
    // A second row of one node does not replace the first.
    assert_eq!(nodes[0].power, ObservedPower::On);
}

proptest! {
    #[test]
    fn parsers_take_anything(raw in proptest::collection::vec(any::<u8>(), 0..2000)) {
        parse_all(&raw);
    }

    #[test]
    fn parsers_take_anything_that_looks_right(
        lines in proptest::collection::vec(
            "( {0,3}(c[0-9]{1,3}n[0-9]|[0-9]{1,2}|On|Off|N/A|-{2,17}|NIC [0-9] \\(Switch [AB]\\)|([0-9a-f]{2}:){5}[0-9a-f]{2}|(Cartridge|Node) #[0-9]|Power State: [A-Z]|ü\u{1b}\\[)){0,8}",
            0..20,
        )
    ) {
        parse_all(lines.join("\r\n").as_bytes());
    }

    #[test]
    fn every_list_that_is_printed_is_read_back(
        rows in proptest::collection::btree_map((1u8..=45, 1u8..=4), (any::<bool>(), "[A-Z][a-z]{2,9}( Corp)?", "[a-z0-9 ]{0,14}"), 0..60)
    ) {
        let mut text = String::from("show node list\r\r\n\r\nSlot ID    Proc Manufacturer      Architecture         Memory Power Status   Node Asset Tag\r\n---- ----- ---------------------- -------------------- ------ ----- -------- --------------\r\n");
        for ((slot, node), (is_on, maker, tag)) in &rows {
            let id = format!("c{slot}n{node}");
            let power = if *is_on { "On" } else { "Off" };
            text.push_str(&format!("{slot:3}  {id:5} {maker:22} {:20} {:6} {power:5} {:8} {tag}\r\n", "x86 Architecture", "32 GB", "OK"));
        }
        let rules = rules();
        let answer = clean(text.as_bytes(), "show node list", &rules);
        let nodes = parse_list(&answer, &rules).unwrap();
        let read: Vec<(SlotId, bool)> = nodes.iter().map(|n| (n.slot, n.power == ObservedPower::On)).collect();
        let printed: Vec<(SlotId, bool)> = rows.iter().map(|((slot, node), (is_on, ..))| (SlotId::new(*slot, *node).unwrap(), *is_on)).collect();
        prop_assert_eq!(read, printed);
    }
}

fn parse_all(raw: &[u8]) {
    let rules = rules();
    let slot = SlotId::new(1, 1).unwrap();
    let answer = clean(raw, "show node list", &rules);
    let _ = ending(raw, prompt_of(raw, &rules).as_deref(), &rules);
    let _ = parse_list(&answer, &rules);
    let _ = parse_macs(&answer, &rules);
    let _ = parse_power(&answer, Some(slot), &rules);
    let _ = parse_facts(&answer, Some(slot), &[slot], &rules);
}

#[test]
fn echoes_without_end_cost_little() {
    let raw = "show node list\n".repeat(70_000);
    let answer = clean(raw.as_bytes(), "show node list", &rules());
    assert!(answer.lines.is_empty());
}
