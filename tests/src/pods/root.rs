//! A container's root: the machine's own programs read-only, and the volumes.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::confinement::Confinement;
use super::template::Template;
use super::{Pods, items, text};
use crate::lab::{LabError, process};

/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Programs that their images mark, and how: see Kubernetes' own `build/server-image`.
/// Where a runtime gives less, the kernel refuses to start such a file.
const MARKED: [(&str, &str); 1] = [("kube-apiserver", "cap_net_bind_service=+ep")];
/// Folder of those inside.
const IMAGE: &str = "/image";

/// What a container sees.
pub(super) struct Root {
    folder: PathBuf,
    user: u64,
    group: u64,
    confinement: Confinement,
    /// From where to where inside.
    mounts: Vec<(PathBuf, String)>,
    environment: Vec<String>,
}

impl Root {
    pub fn prepare(
        pods: &Pods<'_>,
        template: &Template,
        container: &Value,
        pod: &str,
    ) -> Result<Self, LabError> {
        let base = pods.folder.join("pods").join(pod);
        let folder = base.join("roots").join(text(container, "name"));
        let context = &template.spec["securityContext"];
        let id = |key: &str| context[key].as_u64().unwrap_or(0);
        let mut root = Self {
            folder,
            user: id("runAsUser"),
            group: id("runAsGroup"),
            confinement: Confinement::of(container)?,
            mounts: Vec::new(),
            environment: Vec::new(),
        };
        root.system(pods)?;
        root.entry(pods, container)?;
        root.account(pods, template, &base)?;
        for mount in items(container, "volumeMounts") {
            let name = text(mount, "name");
            let source = root.volume(pods, template, name, pod, &base)?;
            root.mount(&source, text(mount, "mountPath"))?;
        }
        Ok(root)
    }

    /// What an image would have: programs, /proc, /dev, names of hosts.
    fn system(&mut self, pods: &Pods<'_>) -> Result<(), LabError> {
        let etc = self.folder.join("etc");
        create(&etc)?;
        write(
            &etc.join("hosts"),
            format!("127.0.0.1 localhost\n{}", pods.hosts).as_bytes(),
        )?;
        write(&etc.join("resolv.conf"), b"")?;
        for (link, target) in [
            ("bin", "usr/bin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
        ] {
            let _ = symlink(target, self.folder.join(link));
        }
        for folder in ["/usr", "/proc", "/dev"] {
            self.mount(Path::new(folder), folder)?;
        }
        let mut path = vec![IMAGE.to_owned()];
        for (index, folder) in pods.programs.iter().enumerate() {
            let inside = format!("/opt/{index}");
            self.mount(folder, &inside)?;
            path.push(inside);
        }
        self.environment
            .push(format!("PATH={}:/usr/bin:/usr/sbin", path.join(":")));
        Ok(())
    }

    /// The program as its image has it: at the place that a command names, and
    /// marked.
    fn entry(&self, pods: &Pods<'_>, container: &Value) -> Result<(), LabError> {
        let command = items(container, "command").first().and_then(Value::as_str);
        let Some(command) = command else {
            return Ok(());
        };
        let name = command.trim_start_matches('/');
        let has = |folder: &PathBuf| folder.join(name).is_file();
        let Some(index) = pods.programs.iter().position(has) else {
            return Ok(());
        };
        if let Some((_, mark)) = MARKED.iter().find(|(marked, _)| *marked == name) {
            return self.marked(&pods.programs[index].join(name), mark);
        }
        if !command.starts_with('/') {
            return Ok(());
        }
        let link = self.folder.join(name);
        let _ = fs::remove_file(&link);
        symlink(format!("/opt/{index}/{name}"), &link).map_err(LabError::file("linking", &link))
    }

    /// A copy of a program with the capabilities that its image gives the file.
    fn marked(&self, program: &Path, mark: &str) -> Result<(), LabError> {
        let folder = self.folder.join(IMAGE.trim_start_matches('/'));
        create(&folder)?;
        let target = folder.join(program.file_name().unwrap_or_default());
        // One that runs cannot be written to.
        let next = target.with_extension("next");
        fs::copy(program, &next).map_err(LabError::file("copying", program))?;
        process::run("setcap", [mark, &next.display().to_string()])?;
        fs::rename(&next, &target).map_err(LabError::file("replacing", &target))
    }

    fn account(
        &mut self,
        pods: &Pods<'_>,
        template: &Template,
        base: &Path,
    ) -> Result<(), LabError> {
        let account = text(&template.spec, "serviceAccountName");
        if template.spec["automountServiceAccountToken"] == false || account.is_empty() {
            return Ok(());
        }
        let folder = base.join("account");
        create(&folder)?;
        self.put(&folder.join("token"), pods.token(account, None)?.as_bytes())?;
        self.put(&folder.join("namespace"), pods.namespace.as_bytes())?;
        let authority = pods.cluster.authority();
        let authority = fs::read(&authority).map_err(LabError::file("reading", &authority))?;
        self.put(&folder.join("ca.crt"), &authority)?;
        self.mount(&folder, ACCOUNT)?;
        let endpoint = pods.cluster.endpoint();
        let (host, port) = endpoint.split_once(':').unwrap_or((&endpoint, "443"));
        self.environment
            .push(format!("KUBERNETES_SERVICE_HOST={host}"));
        self.environment
            .push(format!("KUBERNETES_SERVICE_PORT={port}"));
        Ok(())
    }

    /// The folder of a volume, filled as it says.
    fn volume(
        &self,
        pods: &Pods<'_>,
        template: &Template,
        name: &str,
        pod: &str,
        base: &Path,
    ) -> Result<PathBuf, LabError> {
        if template.claims.iter().any(|claim| claim == name) {
            return self.writable(pods.claim(&format!("{name}-{pod}")));
        }
        let volume = items(&template.spec, "volumes")
            .iter()
            .find(|volume| text(volume, "name") == name)
            .ok_or_else(|| LabError::Other(format!("there is no volume {name}")))?;
        if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
            // A pod waits for its claim to be there.
            pods.get(&format!("persistentvolumeclaim/{claim}"))?;
            return self.writable(pods.claim(claim));
        }
        let folder = base.join("volumes").join(name);
        if volume["emptyDir"].is_object() {
            return self.writable(folder);
        }
        create(&folder)?;
        for source in items(&volume["projected"], "sources")
            .iter()
            .chain([volume])
        {
            let token = &source["serviceAccountToken"];
            if token.is_object() {
                let account = text(&template.spec, "serviceAccountName");
                let token_text = pods.token(account, token["audience"].as_str())?;
                self.put(&folder.join(text(token, "path")), token_text.as_bytes())?;
                continue;
            }
            self.fill(pods, source, &folder)?;
        }
        Ok(folder)
    }

    /// Writes the entries of a ConfigMap or Secret, or those that `items` choose.
    fn fill(&self, pods: &Pods<'_>, source: &Value, folder: &Path) -> Result<(), LabError> {
        let (object, source) = if source["secret"].is_object() {
            let secret = &source["secret"];
            let name = secret["name"]
                .as_str()
                .unwrap_or(text(secret, "secretName"));
            (format!("secret/{name}"), secret)
        } else if source["configMap"].is_object() {
            let map = &source["configMap"];
            (format!("configmap/{}", text(map, "name")), map)
        } else {
            return Ok(());
        };
        let found = pods.get(&object)?;
        let value = |key: &str| -> Result<Vec<u8>, LabError> {
            let data = found["data"][key].as_str();
            let data = data.ok_or_else(|| LabError::Other(format!("{object} has no {key}")))?;
            if object.starts_with("secret/") {
                return decode(data);
            }
            Ok(data.as_bytes().to_vec())
        };
        let chosen = items(source, "items");
        if chosen.is_empty() {
            for key in found["data"]
                .as_object()
                .into_iter()
                .flat_map(|data| data.keys())
            {
                self.put(&folder.join(key), &value(key)?)?;
            }
        }
        for item in chosen {
            self.put(&folder.join(text(item, "path")), &value(text(item, "key"))?)?;
        }
        Ok(())
    }

    /// A file that the pod's group may read, as `defaultMode: 0440` with fsGroup.
    fn put(&self, path: &Path, content: &[u8]) -> Result<(), LabError> {
        create(path.parent().unwrap_or(path))?;
        // A program that reads it meanwhile has the old file or the new one.
        let mut next = path.as_os_str().to_owned();
        next.push(".next");
        let next = PathBuf::from(next);
        write(&next, content)?;
        let group = u32::try_from(self.group).ok();
        chown(&next, Some(0), group).map_err(LabError::file("giving away", &next))?;
        let mode = fs::Permissions::from_mode(0o440);
        fs::set_permissions(&next, mode).map_err(LabError::file("closing", &next))?;
        fs::rename(&next, path).map_err(LabError::file("replacing", path))
    }

    fn writable(&self, folder: PathBuf) -> Result<PathBuf, LabError> {
        create(&folder)?;
        let (user, group) = (
            u32::try_from(self.user).ok(),
            u32::try_from(self.group).ok(),
        );
        chown(&folder, user, group).map_err(LabError::file("giving away", &folder))?;
        Ok(folder)
    }

    fn mount(&mut self, from: &Path, inside: &str) -> Result<(), LabError> {
        create(&self.folder.join(inside.trim_start_matches('/')))?;
        self.mounts.push((from.to_owned(), inside.to_owned()));
        Ok(())
    }

    /// A script that mounts everything and becomes the container's program.
    pub fn script(&self, words: &[String]) -> String {
        let mut script = String::from("set -e\n");
        for (from, inside) in &self.mounts {
            let to = format!("{}{inside}", self.folder.display());
            let _ = writeln!(
                script,
                "mount --rbind {} {}",
                quoted(&from.display().to_string()),
                quoted(&to)
            );
        }
        let root = quoted(&self.folder.display().to_string());
        let (user, group, confinement) = (self.user, self.group, &self.confinement);
        let _ = write!(
            script,
            "exec capsh {confinement} --chroot={root} --groups={group} --gid={group} \
             --uid={user} --shell=/usr/bin/env -- -i"
        );
        for word in self.environment.iter().chain(words) {
            let _ = write!(script, " {}", quoted(word));
        }
        script
    }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn create(folder: &Path) -> Result<(), LabError> {
    fs::create_dir_all(folder).map_err(LabError::file("creating", folder))
}

fn write(path: &Path, content: &[u8]) -> Result<(), LabError> {
    fs::write(path, content).map_err(LabError::file("writing", path))
}

/// What a Secret's value says; base64 is a program of every machine.
fn decode(text: &str) -> Result<Vec<u8>, LabError> {
    let folder = tempfile::tempdir().map_err(LabError::file("creating", Path::new("a folder")))?;
    let file = folder.path().join("value");
    write(&file, text.as_bytes())?;
    let path = file.display().to_string();
    Ok(process::run("base64", ["--decode", &path])?.into_bytes())
}
