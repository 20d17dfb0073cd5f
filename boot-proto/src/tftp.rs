//! TFTP packets and options: RFC 1350, 2347 (options), 2348 (blksize), 2349
//! (timeout, tsize) and 7440 (windowsize). Bytes to values and back, no more.

/// Largest block that `blksize` may ask for (RFC 2348).
pub const MAX_BLOCK_BYTES: usize = 65_464;
/// Block size without the option (RFC 1350 §5).
pub const DEFAULT_BLOCK_BYTES: usize = 512;
/// Longest request that is read (RFC 2347: 512 octets).
pub const MAX_REQUEST_BYTES: usize = 512;

/// Error codes (RFC 1350 appendix, RFC 2347).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// See the message.
    Undefined,
    /// File not found.
    NotFound,
    /// Access violation.
    Access,
    /// Disk full.
    Full,
    /// Illegal TFTP operation.
    Illegal,
    /// Unknown transfer.
    UnknownTransfer,
    /// File exists.
    Exists,
    /// No such user.
    NoUser,
    /// The options offered are refused.
    Options,
    /// A code no RFC names.
    Other(u16),
}

const ERROR_CODES: [ErrorCode; 9] = [
    ErrorCode::Undefined,
    ErrorCode::NotFound,
    ErrorCode::Access,
    ErrorCode::Full,
    ErrorCode::Illegal,
    ErrorCode::UnknownTransfer,
    ErrorCode::Exists,
    ErrorCode::NoUser,
    ErrorCode::Options,
];

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Other(number) => number,
            named => ERROR_CODES
                .iter()
                .position(|code| *code == named)
                .and_then(|at| u16::try_from(at).ok())
                .unwrap_or_default(),
        }
    }
}

impl From<u16> for ErrorCode {
    fn from(number: u16) -> Self {
        ERROR_CODES
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Other(number))
    }
}

/// How a file is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it is.
    Octet,
    /// As lines of NVT ASCII.
    NetAscii,
    /// Anything else, such as the obsolete `mail`.
    Other,
}

/// A read or write request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// File name as sent.
    pub file: String,
    /// Mode.
    pub mode: Mode,
    /// Options in the order sent, names in lower case.
    pub options: Vec<(String, String)>,
}

/// A packet from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// RRQ: send me a file.
    Read(Request),
    /// WRQ: take a file.
    Write(Request),
    /// DATA, which only a writing client sends.
    Data,
    /// ACK of a block; 0 acknowledges the options.
    Ack(u16),
    /// ERROR: the client gives up.
    Error(ErrorCode, String),
}

/// Why a datagram is no TFTP packet of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends before it should.
    #[error("the packet ends early")]
    Short,
    /// Longer than a request may be.
    #[error("a request may have {MAX_REQUEST_BYTES} bytes, this one has {0}")]
    Long(usize),
    /// An operation that clients do not send.
    #[error("operation {0} is not one of a client")]
    Operation(u16),
    /// A text that is not UTF-8.
    #[error("a file name or option is not readable text")]
    Text,
}

impl FromClient {
    /// Reads a UDP payload.
    ///
    /// # Errors
    /// When it is no packet of a client.
    pub fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let [a, b, body @ ..] = datagram else {
            return Err(Malformed::Short);
        };
        let number = || match body {
            [high, low, ..] => Ok(u16::from_be_bytes([*high, *low])),
            _ => Err(Malformed::Short),
        };
        match u16::from_be_bytes([*a, *b]) {
            1 => Request::parse(body).map(Self::Read),
            2 => Request::parse(body).map(Self::Write),
            3 => Ok(Self::Data),
            4 => number().map(Self::Ack),
            5 => {
                let text: Vec<u8> = body
                    .iter()
                    .skip(2)
                    .take_while(|b| **b != 0)
                    .take(128)
                    .copied()
                    .collect();
                Ok(Self::Error(
                    number()?.into(),
                    String::from_utf8_lossy(&text).into_owned(),
                ))
            }
            other => Err(Malformed::Operation(other)),
        }
    }
}

impl Request {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(Malformed::Long(body.len()));
        }
        // Some clients pad the request with zeros; empty names end it.
        let (texts, _unfinished) = match body.iter().rposition(|b| *b == 0) {
            Some(end) => body.split_at(end),
            None => return Err(Malformed::Short),
        };
        let mut texts = texts
            .split(|b| *b == 0)
            .map(|text| std::str::from_utf8(without_ff(text)));
        let mut next = || texts.next().transpose().map_err(|_| Malformed::Text);
        let file = next()?.ok_or(Malformed::Short)?.to_owned();
        let mode = match next()?
            .ok_or(Malformed::Short)?
            .to_ascii_lowercase()
            .as_str()
        {
            "octet" => Mode::Octet,
            "netascii" => Mode::NetAscii,
            _ => Mode::Other,
        };
        let mut options = Vec::new();
        while let (Ok(Some(name)), Ok(Some(value))) = (next(), next()) {
            if name.is_empty() {
                break;
            }
            options.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Ok(Self {
            file,
            mode,
            options,
        })
    }

    /// The request as a client sends it.
    #[must_use]
    pub fn encode_read(&self) -> Vec<u8> {
        let mode = match self.mode {
            Mode::Octet => "octet",
            Mode::NetAscii => "netascii",
            Mode::Other => "mail",
        };
        let mut bytes = vec![0, 1];
        push_text(&mut bytes, &self.file);
        push_text(&mut bytes, mode);
        for (name, value) in &self.options {
            push_text(&mut bytes, name);
            push_text(&mut bytes, value);
        }
        bytes
    }
}

/// Old Intel ROMs that got a boot file name without a NUL ask for it with the
/// DHCP end mark still on it.
fn without_ff(text: &[u8]) -> &[u8] {
    text.strip_suffix(&[0xff]).unwrap_or(text)
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.bytes().filter(|b| *b != 0));
    bytes.push(0);
}

/// DATA: one block of a file.
#[must_use]
pub fn data(block: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(content.len() + 4);
    bytes.extend_from_slice(&[0, 3]);
    bytes.extend_from_slice(&block.to_be_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// OACK: the options that are agreed to.
#[must_use]
pub fn option_ack(options: &[(&str, String)]) -> Vec<u8> {
    let mut bytes = vec![0, 6];
    for (name, value) in options {
        push_text(&mut bytes, name);
        push_text(&mut bytes, value);
    }
    bytes
}

/// ERROR.
#[must_use]
pub fn error(code: ErrorCode, message: &str) -> Vec<u8> {
    let mut bytes = vec![0, 5];
    bytes.extend_from_slice(&code.number().to_be_bytes());
    push_text(&mut bytes, message);
    bytes
}

/// ACK, as a client sends it.
#[must_use]
pub fn ack(block: u16) -> Vec<u8> {
    let [high, low] = block.to_be_bytes();
    vec![0, 4, high, low]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests() {
        let text = b"\x00\x01undionly.kpxe\0OCTET\0BlkSize\x001432\0tsize\x000\0";
        let FromClient::Read(request) = FromClient::parse(text).unwrap() else {
            panic!()
        };
        assert_eq!(request.file, "undionly.kpxe");
        assert_eq!(request.mode, Mode::Octet);
        assert_eq!(
            request.options,
            [
                ("blksize".to_owned(), "1432".to_owned()),
                ("tsize".to_owned(), "0".to_owned())
            ]
        );
        assert_eq!(
            FromClient::parse(&request.encode_read()).unwrap(),
            FromClient::Read(request)
        );
    }

    #[test]
    fn clients_that_pad_or_cut() {
        for (bytes, expected) in [
            (&b"\x00\x01f\0netascii\0\0\0\0\0"[..], Ok(Mode::NetAscii)),
            (b"\x00\x01f\0mail\0", Ok(Mode::Other)),
            (b"\x00\x01f\0octet", Err(Malformed::Short)),
            (b"\x00\x01f", Err(Malformed::Short)),
            (b"\x00\x01\xfe\0octet\0", Err(Malformed::Text)),
            (b"\x00\x01undionly.kpxe\xff\0octet\0", Ok(Mode::Octet)),
            (b"\x00\x06x", Err(Malformed::Operation(6))),
            (b"\x00", Err(Malformed::Short)),
            (b"\x00\x04\x01", Err(Malformed::Short)),
        ] {
            let mode = FromClient::parse(bytes).map(|packet| match packet {
                FromClient::Read(request) => request.mode,
                other => panic!("{other:?}"),
            });
            assert_eq!(mode, expected, "{bytes:?}");
        }
        let long = [b"\x00\x01".as_slice(), &[b'a'; 600], b"\0octet\0"].concat();
        assert_eq!(FromClient::parse(&long), Err(Malformed::Long(607)));
    }

    #[test]
    fn what_servers_send() {
        assert_eq!(data(258, b"ab"), [0, 3, 1, 2, b'a', b'b']);
        assert_eq!(
            option_ack(&[("tsize", "9".into())]),
            b"\x00\x06tsize\x009\0"
        );
        assert_eq!(error(ErrorCode::NotFound, "no"), b"\x00\x05\x00\x01no\0");
        assert_eq!(FromClient::parse(&ack(7)), Ok(FromClient::Ack(7)));
        assert_eq!(
            FromClient::parse(&error(ErrorCode::Other(99), "x")),
            Ok(FromClient::Error(ErrorCode::Other(99), "x".into()))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = FromClient::parse(&bytes);
        }
    }
}
