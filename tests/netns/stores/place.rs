//! A boot-server with one store or the other, and how resources get there.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use moonfarm_tests::lab::process::output;
use moonfarm_tests::lab::{Process, ProcessSpec};
use moonfarm_tests::wait::until;
use serde_json::Value;

use crate::kubernetes_agent::Lab;

/// How long a change may take until it is in force, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Which store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A folder of manifests and a state file.
    InFiles,
    /// The API server.
    InTheApiServer,
}

/// A boot-server on a store.
pub struct Place<'a> {
    pub lab: &'a Lab,
    kept: Kept,
    folder: PathBuf,
    server: Process,
}

impl<'a> Place<'a> {
    pub fn new(lab: &'a Lab, kept: Kept) -> Self {
        let folder = lab.path(&format!("{kept:?}"));
        fs::create_dir_all(folder.join("manifests")).unwrap();
        let server = spec(lab, kept, &folder)
            .spawn()
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        let place = Self {
            lab,
            kept,
            folder,
            server,
        };
        place.wait_for_its_answer();
        place
    }

    fn wait_for_its_answer(&self) {
        let answers = until(Duration::from_secs(30), || {
            let mut curl = self.lab.network.command("curl");
            curl.args(["-s", "-o", "/dev/null", "http://127.0.0.1:8080/healthz"]);
            curl.status().ok()?.success().then_some(())
        });
        assert!(answers.is_some(), "no answer: {}", self.log());
    }

    /// Kills the server with `-9` and starts it again.
    pub fn restart(&mut self) {
        self.server.restart().unwrap();
        self.wait_for_its_answer();
    }

    /// Declares what `text` says, in place of what was declared under this name.
    pub fn declare(&self, name: &str, text: &str) {
        match self.kept {
            Kept::InFiles => fs::write(self.manifest(name), text).unwrap(),
            Kept::InTheApiServer => {
                fs::write(self.manifest(name), text).unwrap();
                let file = self.manifest(name).display().to_string();
                self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file]);
            }
        }
    }

    /// Declares no longer what was declared under this name.
    pub fn withdraw(&self, name: &str) {
        if self.kept == Kept::InTheApiServer {
            let file = self.manifest(name).display().to_string();
            self.kubectl(&["delete", "-f", &file]);
        }
        fs::remove_file(self.manifest(name)).unwrap();
    }

    /// The server's state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.folder.join("manifests").join(format!("{name}.yaml"))
    }

    fn kubectl(&self, words: &[&str]) {
        let words = [&["--namespace", "farm"], words].concat();
        let done = self.lab.plane.kubectl_output(&words);
        done.unwrap_or_else(|error| panic!("{}", error.chain()));
    }

    /// `boot-server get`.
    pub fn get(&self, words: &[&str]) -> Value {
        let mut command = self.lab.network.command(self.program());
        command.arg("get").args(words).args(["-o", "json"]);
        command.args(["--server", "http://127.0.0.1:8443", "--state"]);
        command.arg(self.state());
        let text = output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
        serde_json::from_str(&text).unwrap()
    }

    fn program(&self) -> PathBuf {
        self.lab.programs.join("boot-server")
    }

    /// The machine of this name; null where there is none.
    pub fn machine(&self, name: &str) -> Value {
        let machines = self.get(&["machines"]);
        let all = machines.as_array().unwrap();
        let found = all.iter().find(|machine| machine["name"] == name);
        found.cloned().unwrap_or_default()
    }

    /// Waits until `holds` of the machine.
    pub fn wait_for(&self, machine: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = until(SOON, || {
            last = self.machine(machine);
            holds(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("{machine}: {what}: {last:#}\n{}", self.log()))
    }

    /// Waits until the server's log tells of `what`.
    pub fn wait_for_word(&self, what: &str) {
        let told = until(SOON, || self.log().contains(what).then_some(()));
        assert!(told.is_some(), "nothing of {what}: {}", self.log());
    }

    pub fn log(&self) -> String {
        self.server.log_tail(200)
    }
}

fn spec(lab: &Lab, kept: Kept, folder: &std::path::Path) -> ProcessSpec {
    let program = lab.programs.join("boot-server");
    let spec = ProcessSpec::new("boot-server", program, folder)
        .args(["serve", "--no-tftp"])
        .args(["--state".into(), folder.join("state")])
        .within(lab.network.name());
    match kept {
        Kept::InFiles => spec.args(["--manifests".into(), folder.join("manifests")]),
        Kept::InTheApiServer => spec
            .args(["--kubernetes", "--namespace", "farm"])
            .args(["--kubeconfig".into(), lab.plane.kubeconfig()]),
    }
}
