//! What the booted system says of itself on its console. Pure.

/// The figures of one boot.
#[derive(Clone, Debug, PartialEq)]
pub struct Marks {
    /// Seconds from the kernel's start to the root's init.
    pub init_secs: f64,
    /// Seconds from the kernel's start to multi-user.target.
    pub multi_user_secs: f64,
    /// MemTotal less MemAvailable in MiB, 5 s later.
    pub used_mib: f64,
    /// Bytes received, in MiB.
    pub received_mib: f64,
    /// What `systemctl is-system-running` said.
    pub state: String,
}

impl Marks {
    /// Reads the console's text; `None` until all is there.
    pub fn read(console: &str) -> Option<Self> {
        let mark = |name: &str| {
            let head = format!("BENCH {name} ");
            let at = console.rfind(&head)? + head.len();
            // A line that is not at its end may be cut.
            let (value, _) = console.get(at..)?.split_once('\n')?;
            Some(value.trim().to_owned())
        };
        let number = |name: &str| mark(name)?.parse::<f64>().ok();
        Some(Self {
            init_secs: number("init")?,
            multi_user_secs: number("multi-user")?,
            used_mib: number("used")? / 1024.0,
            received_mib: number("received")? / f64::from(1 << 20),
            state: mark("state")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_when_all_are_there() {
        let text = "[ 1.0] x\r\nBENCH init 3.81\r\nBENCH multi-user 10.25\r\nfoo\r\n\
                    BENCH used 2048\r\nBENCH received 1048576\r\nBENCH state running\r\n";
        let marks = Marks::read(text).unwrap();
        assert_eq!((marks.init_secs, marks.multi_user_secs), (3.81, 10.25));
        assert_eq!((marks.used_mib, marks.received_mib), (2.0, 1.0));
        assert_eq!(marks.state, "running");
        for end in [text.len() - 2, text.len() - 30, 20] {
            assert_eq!(Marks::read(&text[..end]), None, "{end}");
        }
    }
}
