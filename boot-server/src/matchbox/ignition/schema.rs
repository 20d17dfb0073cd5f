//! Ignition's types, specification 3.4, as data: fields in the order in which
//! they are written.

/// What a field holds.
#[derive(Debug)]
pub(in crate::matchbox) enum Kind {
    Text,
    Whole,
    Truth,
    /// An object; it is always written, if only as `{}`.
    One(&'static [Field]),
    Many(&'static Kind),
}

/// When a field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::matchbox) enum Need {
    Always,
    /// Where it is given.
    Given,
    /// Where it is given, and neither empty nor zero.
    NotEmpty,
}

#[derive(Debug)]
pub(in crate::matchbox) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        need: Need::Given,
    }
}

const fn always(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        need: Need::Always,
    }
}

const fn unless_empty(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        need: Need::NotEmpty,
    }
}

pub(in crate::matchbox) const CONFIG: &[Field] = &[
    always("ignition", Kind::One(IGNITION)),
    field("kernelArguments", Kind::One(KERNEL_ARGUMENTS)),
    field("passwd", Kind::One(PASSWD)),
    field("storage", Kind::One(STORAGE)),
    field("systemd", Kind::One(SYSTEMD)),
];

const IGNITION: &[Field] = &[
    field("config", Kind::One(IGNITION_CONFIG)),
    field("proxy", Kind::One(PROXY)),
    field("security", Kind::One(SECURITY)),
    field("timeouts", Kind::One(TIMEOUTS)),
    always("version", Kind::Text),
];

const IGNITION_CONFIG: &[Field] = &[
    field("merge", Kind::Many(&Kind::One(RESOURCE))),
    field("replace", Kind::One(RESOURCE)),
];

const RESOURCE: &[Field] = &[
    field("compression", Kind::Text),
    field("httpHeaders", Kind::Many(&Kind::One(HTTP_HEADER))),
    field("source", Kind::Text),
    field("verification", Kind::One(VERIFICATION)),
];

const HTTP_HEADER: &[Field] = &[always("name", Kind::Text), field("value", Kind::Text)];

const VERIFICATION: &[Field] = &[field("hash", Kind::Text)];

const PROXY: &[Field] = &[
    field("httpProxy", Kind::Text),
    field("httpsProxy", Kind::Text),
    field("noProxy", Kind::Many(&Kind::Text)),
];

const SECURITY: &[Field] = &[field("tls", Kind::One(TLS))];

const TLS: &[Field] = &[field(
    "certificateAuthorities",
    Kind::Many(&Kind::One(RESOURCE)),
)];

const TIMEOUTS: &[Field] = &[
    field("httpResponseHeaders", Kind::Whole),
    field("httpTotal", Kind::Whole),
];

const KERNEL_ARGUMENTS: &[Field] = &[
    field("shouldExist", Kind::Many(&Kind::Text)),
    field("shouldNotExist", Kind::Many(&Kind::Text)),
];

const PASSWD: &[Field] = &[
    field("groups", Kind::Many(&Kind::One(PASSWD_GROUP))),
    field("users", Kind::Many(&Kind::One(PASSWD_USER))),
];

const PASSWD_GROUP: &[Field] = &[
    field("gid", Kind::Whole),
    always("name", Kind::Text),
    field("passwordHash", Kind::Text),
    field("shouldExist", Kind::Truth),
    field("system", Kind::Truth),
];

const PASSWD_USER: &[Field] = &[
    field("gecos", Kind::Text),
    field("groups", Kind::Many(&Kind::Text)),
    field("homeDir", Kind::Text),
    always("name", Kind::Text),
    field("noCreateHome", Kind::Truth),
    field("noLogInit", Kind::Truth),
    field("noUserGroup", Kind::Truth),
    field("passwordHash", Kind::Text),
    field("primaryGroup", Kind::Text),
    field("sshAuthorizedKeys", Kind::Many(&Kind::Text)),
    field("shell", Kind::Text),
    field("shouldExist", Kind::Truth),
    field("system", Kind::Truth),
    field("uid", Kind::Whole),
];

const STORAGE: &[Field] = &[
    field("directories", Kind::Many(&Kind::One(DIRECTORY))),
    field("disks", Kind::Many(&Kind::One(DISK))),
    field("files", Kind::Many(&Kind::One(FILE))),
    field("filesystems", Kind::Many(&Kind::One(FILESYSTEM))),
    field("links", Kind::Many(&Kind::One(LINK))),
    field("luks", Kind::Many(&Kind::One(LUKS))),
    field("raid", Kind::Many(&Kind::One(RAID))),
];

const DIRECTORY: &[Field] = &[
    field("group", Kind::One(NODE_GROUP)),
    field("overwrite", Kind::Truth),
    always("path", Kind::Text),
    field("user", Kind::One(NODE_USER)),
    field("mode", Kind::Whole),
];

const NODE_GROUP: &[Field] = &[field("id", Kind::Whole), field("name", Kind::Text)];

const NODE_USER: &[Field] = &[field("id", Kind::Whole), field("name", Kind::Text)];

const DISK: &[Field] = &[
    always("device", Kind::Text),
    field("partitions", Kind::Many(&Kind::One(PARTITION))),
    field("wipeTable", Kind::Truth),
];

const PARTITION: &[Field] = &[
    field("guid", Kind::Text),
    field("label", Kind::Text),
    unless_empty("number", Kind::Whole),
    field("resize", Kind::Truth),
    field("shouldExist", Kind::Truth),
    field("sizeMiB", Kind::Whole),
    field("startMiB", Kind::Whole),
    field("typeGuid", Kind::Text),
    field("wipePartitionEntry", Kind::Truth),
];

const FILE: &[Field] = &[
    field("group", Kind::One(NODE_GROUP)),
    field("overwrite", Kind::Truth),
    always("path", Kind::Text),
    field("user", Kind::One(NODE_USER)),
    field("append", Kind::Many(&Kind::One(RESOURCE))),
    field("contents", Kind::One(RESOURCE)),
    field("mode", Kind::Whole),
];

const FILESYSTEM: &[Field] = &[
    always("device", Kind::Text),
    field("format", Kind::Text),
    field("label", Kind::Text),
    field("mountOptions", Kind::Many(&Kind::Text)),
    field("options", Kind::Many(&Kind::Text)),
    field("path", Kind::Text),
    field("uuid", Kind::Text),
    field("wipeFilesystem", Kind::Truth),
];

const LINK: &[Field] = &[
    field("group", Kind::One(NODE_GROUP)),
    field("overwrite", Kind::Truth),
    always("path", Kind::Text),
    field("user", Kind::One(NODE_USER)),
    field("hard", Kind::Truth),
    field("target", Kind::Text),
];

const LUKS: &[Field] = &[
    field("clevis", Kind::One(CLEVIS)),
    field("device", Kind::Text),
    field("discard", Kind::Truth),
    field("keyFile", Kind::One(RESOURCE)),
    field("label", Kind::Text),
    always("name", Kind::Text),
    field("openOptions", Kind::Many(&Kind::Text)),
    field("options", Kind::Many(&Kind::Text)),
    field("uuid", Kind::Text),
    field("wipeVolume", Kind::Truth),
];

const CLEVIS: &[Field] = &[
    field("custom", Kind::One(CLEVIS_CUSTOM)),
    field("tang", Kind::Many(&Kind::One(TANG))),
    field("threshold", Kind::Whole),
    field("tpm2", Kind::Truth),
];

const CLEVIS_CUSTOM: &[Field] = &[
    field("config", Kind::Text),
    field("needsNetwork", Kind::Truth),
    field("pin", Kind::Text),
];

const TANG: &[Field] = &[
    field("advertisement", Kind::Text),
    field("thumbprint", Kind::Text),
    unless_empty("url", Kind::Text),
];

const RAID: &[Field] = &[
    field("devices", Kind::Many(&Kind::Text)),
    field("level", Kind::Text),
    always("name", Kind::Text),
    field("options", Kind::Many(&Kind::Text)),
    field("spares", Kind::Whole),
];

const SYSTEMD: &[Field] = &[field("units", Kind::Many(&Kind::One(UNIT)))];

const UNIT: &[Field] = &[
    field("contents", Kind::Text),
    field("dropins", Kind::Many(&Kind::One(DROPIN))),
    field("enabled", Kind::Truth),
    field("mask", Kind::Truth),
    always("name", Kind::Text),
];

const DROPIN: &[Field] = &[field("contents", Kind::Text), always("name", Kind::Text)];
