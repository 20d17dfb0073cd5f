//! Users, their keys, and the machine's SSH host keys. The files of passwd(5) are
//! changed as text, so that no program of the image is needed.

use boot_proto::resources::User;

use super::{Change, Changes, Machine};
use crate::root_dir::RootView;

/// First number of a user that is a person.
const FIRST_UID: u32 = 1000;
const SHADOW_GROUP: &str = "shadow";

pub(super) fn add(machine: &Machine<'_>, root: &dyn RootView, changes: &mut Changes) {
    let system = &machine.config.system;
    add_host_keys(machine, changes);
    let users = &system.users;
    if !users.is_empty() {
        add_users(users, root, changes);
    }
}

fn add_host_keys(machine: &Machine<'_>, changes: &mut Changes) {
    let keys = &machine.config.system.ssh_host_keys;
    if keys.is_empty() {
        return;
    }
    let mut lines = String::new();
    for key in keys {
        let is_plain = key.kind.bytes().all(|b| b.is_ascii_alphanumeric());
        if key.kind.is_empty() || !is_plain {
            changes.warn(format!("{:?} is no type of an SSH key", key.kind));
            continue;
        }
        let path = format!("/etc/ssh/ssh_host_{}_key", key.kind);
        changes.add(Change::private_file(path.clone(), key.private.clone()));
        let public = format!("{}\n", key.public.trim_end());
        changes.add(Change::file(format!("{path}.pub"), public));
        lines.push_str(&format!("HostKey {path}\n"));
    }
    // Keys that the image has are everybody's who has the image.
    changes.add(Change::file(
        "/etc/ssh/sshd_config.d/10-moonfarm.conf",
        lines,
    ));
}

/// The tables of users and groups, line by line.
struct Tables {
    passwd: Vec<Vec<String>>,
    shadow: Vec<Vec<String>>,
    group: Vec<Vec<String>>,
}

fn table(root: &dyn RootView, path: &str) -> Vec<Vec<String>> {
    let text = root.read(path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}

fn text(table: &[Vec<String>]) -> String {
    table.iter().map(|fields| fields.join(":") + "\n").collect()
}

fn field(fields: &[String], at: usize) -> &str {
    fields.get(at).map_or("", String::as_str)
}

fn set(fields: &mut [String], at: usize, value: &str) {
    if let Some(field) = fields.get_mut(at) {
        value.clone_into(field);
    }
}

fn row<'a>(table: &'a mut [Vec<String>], name: &str) -> Option<&'a mut Vec<String>> {
    table.iter_mut().find(|fields| field(fields, 0) == name)
}

fn add_users(users: &[User], root: &dyn RootView, changes: &mut Changes) {
    let mut tables = Tables {
        passwd: table(root, "/etc/passwd"),
        shadow: table(root, "/etc/shadow"),
        group: table(root, "/etc/group"),
    };
    let shadow_gid = row(&mut tables.group, SHADOW_GROUP)
        .and_then(|fields| field(fields, 2).parse().ok())
        .unwrap_or(0);
    let mut homes = Vec::new();
    for user in users {
        let home = tables.put(user, changes);
        homes.push((user, home));
    }
    changes.add(Change::file("/etc/passwd", text(&tables.passwd)));
    changes.add(Change::file("/etc/group", text(&tables.group)));
    changes.add(Change::File {
        path: "/etc/shadow".to_owned(),
        content: text(&tables.shadow),
        mode: 0o640,
        owner: (0, shadow_gid),
    });
    for (user, home) in homes {
        add_home(user, &home, changes);
    }
}

/// Where a user lives and as whom.
struct Home {
    path: String,
    owner: (u32, u32),
}

impl Tables {
    fn put(&mut self, user: &User, changes: &mut Changes) -> Home {
        let known = row(&mut self.passwd, &user.name).cloned();
        let number = |at: usize| known.as_deref().and_then(|row| field(row, at).parse().ok());
        let uid = user.uid.or(number(2)).unwrap_or_else(|| self.free_uid());
        let gid = user.gid.or(number(3)).unwrap_or(uid);
        let taken = self
            .passwd
            .iter()
            .any(|row| field(row, 0) != user.name && field(row, 2) == uid.to_string());
        if taken {
            changes.warn(format!(
                "user {}: another user has the number {uid} too",
                user.name
            ));
        }
        let mut fields = known.unwrap_or_else(|| {
            let path = format!("/home/{}", user.name);
            ["", "x", "", "", "", &path, "/bin/bash"]
                .map(str::to_owned)
                .to_vec()
        });
        set(&mut fields, 0, &user.name);
        set(&mut fields, 2, &uid.to_string());
        set(&mut fields, 3, &gid.to_string());
        if let Some(home) = &user.home {
            set(&mut fields, 5, home);
        }
        if let Some(shell) = &user.shell {
            set(&mut fields, 6, shell);
        }
        let path = field(&fields, 5).to_owned();
        put_row(&mut self.passwd, fields);
        self.put_password(user);
        self.put_groups(user, gid);
        let owner = (uid, gid);
        Home { path, owner }
    }

    fn free_uid(&self) -> u32 {
        let taken = |uid: &u32| {
            let text = uid.to_string();
            let users = self.passwd.iter().any(|row| field(row, 2) == text);
            users || self.group.iter().any(|row| field(row, 2) == text)
        };
        (FIRST_UID..60_000)
            .find(|uid| !taken(uid))
            .unwrap_or(FIRST_UID)
    }

    fn put_password(&mut self, user: &User) {
        match (row(&mut self.shadow, &user.name), &user.password_hash) {
            (Some(fields), Some(hash)) => set(fields, 1, hash),
            (Some(_), None) => {}
            (None, hash) => {
                let hash = hash.as_deref().unwrap_or("!");
                // Never expires: the clock of a diskless machine can be far off.
                let fields = [user.name.as_str(), hash, "", "0", "99999", "7", "", "", ""];
                self.shadow.push(fields.map(str::to_owned).to_vec());
            }
        }
    }

    fn put_groups(&mut self, user: &User, gid: u32) {
        let has_own = self
            .group
            .iter()
            .any(|row| field(row, 2) == gid.to_string());
        if !has_own {
            // Debian has groups named `operator` or `backup` with numbers of their
            // own; whoever has such a name does not get such a group's rights.
            let name = match row(&mut self.group, &user.name) {
                None => user.name.clone(),
                Some(_) => format!("{}-{gid}", user.name),
            };
            let fields = [name.as_str(), "x", &gid.to_string(), ""];
            self.group.push(fields.map(str::to_owned).to_vec());
        }
        for name in &user.groups {
            if row(&mut self.group, name).is_none() {
                let fields = [name.as_str(), "x", &self.free_gid().to_string(), ""];
                self.group.push(fields.map(str::to_owned).to_vec());
            }
            let Some(fields) = row(&mut self.group, name) else {
                continue;
            };
            let mut members: Vec<String> = field(fields, 3)
                .split(',')
                .filter(|m| !m.is_empty())
                .map(str::to_owned)
                .collect();
            if !members.contains(&user.name) {
                members.push(user.name.clone());
            }
            set(fields, 3, &members.join(","));
        }
    }

    /// A number for a group that is no person's.
    fn free_gid(&self) -> u32 {
        let taken = |gid: &u32| {
            let text = gid.to_string();
            self.group.iter().any(|row| field(row, 2) == text)
        };
        (900..1000)
            .find(|gid| !taken(gid))
            .unwrap_or_else(|| self.free_uid())
    }
}

fn put_row(table: &mut Vec<Vec<String>>, fields: Vec<String>) {
    let name = field(&fields, 0).to_owned();
    match row(table, &name) {
        Some(known) => *known = fields,
        None => table.push(fields),
    }
}

fn add_home(user: &User, home: &Home, changes: &mut Changes) {
    if !home.path.starts_with('/') || home.path == "/" {
        return;
    }
    if user.name != "root" {
        changes.add(Change::OwnedDirectory {
            path: home.path.clone(),
            mode: 0o700,
            owner: home.owner,
        });
    }
    if user.ssh_authorized_keys.is_empty() {
        return;
    }
    // sshd ignores the file where others could write to the directory.
    changes.add(Change::OwnedDirectory {
        path: format!("{}/.ssh", home.path),
        mode: 0o700,
        owner: home.owner,
    });
    let keys = user.ssh_authorized_keys.iter();
    changes.add(Change::File {
        path: format!("{}/.ssh/authorized_keys", home.path),
        content: keys.map(|key| format!("{}\n", key.trim())).collect(),
        mode: 0o600,
        owner: home.owner,
    });
}
