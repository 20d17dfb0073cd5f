//! Tests of the store, two of them with a process of their own: one that is
//! killed while it writes, one whose disk is full for a while.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{Batch, Database, Record, StoreError};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    number: u64,
    filler: String,
}

impl Record for Sample {
    const TABLE: &'static str = "samples";
    fn key(&self) -> String {
        self.name.clone()
    }
}

/// Same table, another form.
#[derive(Debug, Serialize, Deserialize)]
struct Other {
    key: String,
    list: Vec<String>,
}

impl Record for Other {
    const TABLE: &'static str = "samples";
    fn key(&self) -> String {
        self.key.clone()
    }
}

fn sample(name: &str, number: u64) -> Sample {
    Sample {
        name: name.into(),
        number,
        filler: "x".repeat(200),
    }
}

fn put(database: &Database, samples: &[Sample]) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    for sample in samples {
        batch.put(sample)?;
    }
    database.commit(batch)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[test]
fn records_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let database = Database::open(&path).unwrap();
    assert_eq!(database.read_all::<Sample>().unwrap(), []);
    assert_eq!(database.get::<Sample>("a").unwrap(), None);
    put(&database, &[sample("b", 2), sample("a", 1), sample("c", 3)]).unwrap();
    let mut batch = Batch::new();
    assert!(batch.is_empty());
    batch.delete::<Sample>("c");
    batch.delete::<Sample>("not there");
    batch.put(&sample("a", 10)).unwrap();
    database.commit(batch).unwrap();
    drop(database);

    let database = Database::open(&path).unwrap();
    assert_eq!(
        database.read_all::<Sample>().unwrap(),
        [sample("a", 10), sample("b", 2)]
    );
    assert_eq!(database.get::<Sample>("b").unwrap(), Some(sample("b", 2)));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_record_that_cannot_be_read_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&folder.path().join("state.redb")).unwrap();
    let mut batch = Batch::new();
    batch.put(&sample("a", 1)).unwrap();
    batch
        .put(&Other {
            key: "b".into(),
            list: vec!["x".into()],
        })
        .unwrap();
    database.commit(batch).unwrap();
    assert_eq!(database.read_all::<Sample>().unwrap(), [sample("a", 1)]);
    let error = database.get::<Sample>("b").unwrap_err();
    assert!(
        error.to_string().contains("record b of table samples"),
        "{error}"
    );
}

#[test]
fn files_that_cannot_be_used_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let _open = Database::open(&path).unwrap();
    let error = Database::open(&path).unwrap_err();
    assert!(
        error.to_string().contains("in use by another boot-server"),
        "{error}"
    );

    let error = Database::open(&folder.path().join("missing/state.redb")).unwrap_err();
    assert!(chain(&error).contains("No such file"), "{}", chain(&error));

    let text = folder.path().join("text");
    std::fs::write(
        &text,
        "no state file at all, but a text that is long enough".repeat(100),
    )
    .unwrap();
    let error = Database::open(&text).unwrap_err();
    assert!(error.to_string().contains("it is damaged"), "{error}");
    assert!(Database::open(folder.path()).is_err());
}

#[test]
fn a_later_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    drop(Database::open(&path).unwrap());
    let file = redb::Database::open(&path).unwrap();
    let transaction = file.begin_write().unwrap();
    transaction
        .open_table(super::META)
        .unwrap()
        .insert(super::SCHEMA_KEY, 99)
        .unwrap();
    transaction.commit().unwrap();
    drop(file);
    let error = Database::open(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has format 99, this boot-server knows 1"),
        "{error}"
    );
}

const CHILD: &str = "MOONFARM_TEST_STORE";
const BATCH: usize = 5;

/// Commits batches for ever when started by the test below; a test of its own
/// that does nothing otherwise.
#[test]
fn child_that_commits() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let database = Database::open(Path::new(&path)).unwrap();
    let first = database
        .read_all::<Sample>()
        .unwrap()
        .first()
        .map_or(0, |sample| sample.number);
    for number in first + 1.. {
        let samples: Vec<Sample> = (0..BATCH)
            .map(|at| sample(&format!("{at}"), number))
            .collect();
        put(&database, &samples).unwrap();
        println!("committed {number}");
    }
}

fn child(shell: &str, test: &str, path: &Path) -> Child {
    Command::new("sh")
        .args(["-c", shell, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn what_was_committed_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    let mut random = rand::rng();
    let number_of = |line: &str| {
        line.split("committed ")
            .nth(1)
            .and_then(|n| n.trim().parse::<u64>().ok())
    };
    for _ in 0..20 {
        let mut child = child("exec \"$@\"", "store::tests::child_that_commits", &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wanted = random.random_range(1..40_u32);
        let mut last = 0;
        while wanted > 0 {
            let line = lines
                .next()
                .expect("the child goes on until it is killed")
                .unwrap();
            if let Some(number) = number_of(&line) {
                (last, wanted) = (number, wanted - 1);
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts as well.
        for number in lines
            .map_while(Result::ok)
            .filter_map(|line| number_of(&line))
        {
            last = number;
        }
        let samples = Database::open(&path).unwrap().read_all::<Sample>().unwrap();
        assert_eq!(samples.len(), BATCH);
        let found = samples[0].number;
        assert!(
            samples.iter().all(|sample| sample.number == found),
            "half a batch: {samples:?}"
        );
        // The commit after the last one told of may be there, told or not.
        assert!(
            (last..=last + 1).contains(&found),
            "told {last}, found {found}"
        );
    }
}

/// Fills the file up to its size limit, and goes on once the limit is gone.
#[test]
fn child_on_a_full_disk() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let database = Database::open(Path::new(&path)).unwrap();
    let fill = |number: u64| {
        let samples: Vec<Sample> = (0..500)
            .map(|at| sample(&format!("{number}-{at}"), number))
            .collect();
        put(&database, &samples)
    };
    let failed = (0..100).find_map(|number| fill(number).err().map(|error| (number, error)));
    let (number, error) = failed.expect("the limit is reached");
    println!("\nfailed {}", chain(&error));
    assert!(put(&database, &[sample("a", 1)]).is_err() || fill(number).is_err());
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    put(&database, &[sample("after", 1)]).unwrap();
    let kept = database.read_all::<Sample>().unwrap();
    assert!(kept.iter().any(|sample| sample.name == "after"));
    // Nothing of the batch that failed, all of those before it.
    assert_eq!(
        kept.iter()
            .filter(|sample| sample.name.starts_with("0-"))
            .count(),
        500
    );
    assert_eq!(
        kept.len() % 500,
        kept.iter()
            .filter(|sample| !sample.name.contains('-'))
            .count()
    );
    println!("\nwent on");
}

#[test]
fn a_full_disk_is_an_error_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    drop(Database::open(&path).unwrap());
    let size = std::fs::metadata(&path).unwrap().len();
    // A limit on the size of files (in blocks of 512 bytes) stands in for a disk
    // that is full; its signal ignored, writes fail as there.
    let shell = format!(
        "trap '' XFSZ; ulimit -S -f {} && exec \"$@\"",
        size / 512 + 200
    );
    let mut child = child(&shell, "store::tests::child_on_a_full_disk", &path);
    let mut output = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut output)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{output}");
    assert!(output.contains("failed writing table samples"), "{output}");
    assert!(output.contains("went on"), "{output}");
}
