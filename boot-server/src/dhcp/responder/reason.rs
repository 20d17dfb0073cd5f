//! Short words for what was decided, for metrics and logs: few, and fixed.

use boot_proto::dhcp::{Malformed, MessageType};

use super::{Refusal, Why};

impl Why {
    /// The reason in one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Malformed(Malformed::Cookie) | Self::Bootp => "bootp",
            Self::Malformed(_) => "malformed",
            Self::NotARequest => "not-a-request",
            Self::NoMac { .. } => "no-mac",
            Self::NotForServers(_) => "not-for-servers",
            Self::UnknownLink(_) => "unknown-link",
            Self::UnknownRelay(_) => "unknown-relay",
            Self::UnknownSelection(_) => "unknown-selection",
            Self::ModeOff(_) => "mode-off",
            Self::NoServerAddress(_) => "no-server-address",
            Self::UnknownClient(_) => "unknown-client",
            Self::OnOtherLink(_) => "on-other-link",
            Self::OtherServer(_) => "other-server",
            Self::Incomplete => "incomplete",
            Self::NoRecord => "no-record",
            Self::NoRange(_) => "no-range",
            Self::Exhausted(_) => "exhausted",
            Self::Released(_) => "released",
            Self::Declined(_) => "declined",
            Self::NotItsLease(_) => "not-its-lease",
            Self::NotAuthoritative(..) => "not-authoritative",
            Self::OtherPort(_) => "other-port",
            Self::TooManyStrangers(_) => "too-many-strangers",
            Self::TooManyDeclined => "too-many-declined",
            Self::Quarantined => "quarantine",
            Self::NotClaimed(_) => "not-claimed",
            Self::NotStored => "not-stored",
            Self::ProxyOnly => "proxy-only",
            Self::NoBootFile(_) => "no-boot-file",
        }
    }
}

impl Refusal {
    /// The reason in one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::WrongNetwork(_) => "wrong-network",
            Self::HasReservation(_) => "has-reservation",
            Self::Reserved(_) => "reserved",
            Self::Taken(_) => "taken",
            Self::Resting(_) => "resting",
            Self::NoRange(_) => "no-range",
            Self::NotYours(_) => "not-yours",
        }
    }
}

/// The message type in one word.
#[must_use]
pub const fn message_word(kind: Option<MessageType>) -> &'static str {
    match kind {
        None => "none",
        Some(MessageType::Discover) => "discover",
        Some(MessageType::Offer) => "offer",
        Some(MessageType::Request) => "request",
        Some(MessageType::Decline) => "decline",
        Some(MessageType::Ack) => "ack",
        Some(MessageType::Nak) => "nak",
        Some(MessageType::Release) => "release",
        Some(MessageType::Inform) => "inform",
        Some(_) => "other",
    }
}
