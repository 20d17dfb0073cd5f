//! Looks at a booted machine, many in one script.

/// A shell script that shows each look: a name, and the command that shows it.
pub fn script(looks: &[(&str, &str)]) -> String {
    let looks: String = looks
        .iter()
        .map(|(name, command)| format!("echo '== {name}'; {{ {command}; }} 2>&1; "))
        .collect();
    looks + "true"
}

/// What the commands printed.
pub struct Seen<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Seen<'a> {
    /// Takes it apart.
    pub fn of(text: &'a str) -> Self {
        let parts = text.split("== ").skip(1);
        Self(parts.filter_map(|part| part.split_once('\n')).collect())
    }

    /// What a look showed.
    pub fn get(&self, name: &str) -> &'a str {
        let found = self.0.iter().find(|(own, _)| *own == name);
        found
            .unwrap_or_else(|| panic!("{name} was not looked at: {:#?}", self.0))
            .1
            .trim_end()
    }

    /// Compares, runs of blanks counting as one.
    pub fn is(&self, name: &str, expected: &str) {
        let lines = self.get(name).lines();
        let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(words.collect::<Vec<_>>().join("\n"), expected, "{name}");
    }
}
