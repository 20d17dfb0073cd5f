//! The text of a template cut into tokens.

use super::TemplateError;
use super::number;
use super::value::Value;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Text(String),
    Left,
    Right,
    Keyword(&'static str),
    Identifier(String),
    /// Without its dot.
    Field(String),
    /// With its dollar sign.
    Variable(String),
    Dot,
    Nil,
    Constant(Value),
    Declare,
    Assign,
    Pipe,
    Comma,
    Open,
    Close,
}

/// A token, where it stands, and whether white space is in front of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spot {
    pub token: Token,
    pub line: usize,
    pub spaced: bool,
}

const KEYWORDS: [&str; 10] = [
    "block", "break", "continue", "define", "else", "end", "if", "range", "template", "with",
];
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

pub(super) fn lex(text: &str) -> Result<Vec<Spot>, TemplateError> {
    let mut lexer = Lexer {
        rest: text,
        line: 1,
        spots: Vec::new(),
    };
    lexer.run()?;
    Ok(lexer.spots)
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    spots: Vec<Spot>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) -> Result<(), TemplateError> {
        let mut trim_next = false;
        loop {
            let end = self.rest.find("{{");
            let raw = self.take(end.unwrap_or(self.rest.len()));
            let mut text = raw;
            if trim_next {
                text = text.trim_start_matches(SPACES);
            }
            let trims = self.rest.strip_prefix("{{-").is_some_and(starts_spaced);
            if trims {
                text = text.trim_end_matches(SPACES);
            }
            if !text.is_empty() {
                self.push(Token::Text(text.to_owned()), false);
            }
            if end.is_none() {
                return Ok(());
            }
            self.take(if trims { 4 } else { 2 });
            trim_next = match self.comment()? {
                Some(trims) => trims,
                None => self.action()?,
            };
        }
    }

    /// Takes a comment, which is all there may be between its delimiters, and
    /// says whether it trims what follows.
    fn comment(&mut self) -> Result<Option<bool>, TemplateError> {
        if !self.rest.starts_with("/*") {
            return Ok(None);
        }
        let Some(end) = self.rest.find("*/") else {
            return Err(self.wrong("unclosed comment"));
        };
        self.take(end + 2);
        match self.right() {
            Some(trims) => Ok(Some(trims)),
            None => Err(self.wrong("comment ends before closing delimiter")),
        }
    }

    /// Takes the closing delimiter where it comes next; says whether it trims.
    fn right(&mut self) -> Option<bool> {
        let is_trim = starts_spaced(self.rest) && self.rest[1..].starts_with("-}}");
        if is_trim {
            self.take(4);
        } else if self.rest.starts_with("}}") {
            self.take(2);
        } else {
            return None;
        }
        Some(is_trim)
    }

    fn action(&mut self) -> Result<bool, TemplateError> {
        self.push(Token::Left, false);
        let mut depth = 0_usize;
        loop {
            let before = self.rest.len();
            // ` -}}` begins with the space.
            while starts_spaced(self.rest) && !self.rest[1..].starts_with("-}}") {
                self.take(1);
            }
            let spaced = self.rest.len() != before;
            if let Some(trims) = self.right() {
                if depth > 0 {
                    return Err(self.wrong("unclosed left paren"));
                }
                self.push(Token::Right, spaced);
                return Ok(trims);
            }
            let token = self.token()?;
            match token {
                Token::Open => depth += 1,
                Token::Close if depth == 0 => return Err(self.wrong("unexpected right paren")),
                Token::Close => depth -= 1,
                _ => {}
            }
            self.push(token, spaced);
        }
    }

    fn token(&mut self) -> Result<Token, TemplateError> {
        let Some(first) = self.rest.chars().next() else {
            return Err(self.wrong("unclosed action"));
        };
        for (text, token) in [
            (":=", Token::Declare),
            ("=", Token::Assign),
            ("|", Token::Pipe),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
        ] {
            if self.rest.starts_with(text) {
                self.take(text.len());
                return Ok(token);
            }
        }
        match first {
            '"' | '`' | '\'' => self.quoted(first),
            '.' if !self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.take(1);
                let name = self.word()?;
                Ok(if name.is_empty() {
                    Token::Dot
                } else {
                    Token::Field(name.to_owned())
                })
            }
            '$' => {
                self.take(1);
                Ok(Token::Variable(format!("${}", self.word()?)))
            }
            '+' | '-' | '.' | '0'..='9' => self.number(),
            c if is_word(c) => Ok(word_token(self.word()?)),
            c => Err(self.wrong(&format!("unexpected character {c:?}"))),
        }
    }

    /// Takes a word, which may be empty, and sees that it ends where one may.
    fn word(&mut self) -> Result<&'a str, TemplateError> {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let word = self.take(end);
        let ends = self.rest.starts_with("}}")
            || self.rest.is_empty()
            || self
                .rest
                .starts_with(|c: char| SPACES.contains(&c) || ".,|:)(".contains(c));
        if ends {
            Ok(word)
        } else {
            Err(self.wrong("bad character"))
        }
    }

    fn number(&mut self) -> Result<Token, TemplateError> {
        let end = number::length(self.rest);
        let text = self.take(end);
        if self.rest.starts_with(is_word) {
            return Err(self.wrong("bad number syntax"));
        }
        match number::read(text) {
            Some(value) => Ok(Token::Constant(value)),
            None => Err(self.wrong("bad number syntax")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Token, TemplateError> {
        let mut end = None;
        let mut skip = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if skip => skip = false,
                '\\' if quote != '`' => skip = true,
                '\n' if quote != '`' => break,
                c if c == quote => {
                    end = Some(at + 1);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = end else {
            return Err(self.wrong("unterminated quoted string"));
        };
        let inner = self.take(end);
        let inner = &inner[1..inner.len() - 1];
        let value = match quote {
            '`' => Some(Value::text(&inner.replace('\r', ""))),
            '"' => number::unquote(inner).map(|text| Value::text(&text)),
            _ => number::character(inner).map(|c| Value::Int(i64::from(u32::from(c)))),
        };
        value
            .map(Token::Constant)
            .ok_or_else(|| self.wrong("invalid syntax in a quoted string"))
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn push(&mut self, token: Token, spaced: bool) {
        self.spots.push(Spot {
            token,
            line: self.line,
            spaced,
        });
    }

    fn wrong(&self, message: &str) -> TemplateError {
        TemplateError::Parse {
            line: self.line,
            message: message.to_owned(),
        }
    }
}

fn starts_spaced(text: &str) -> bool {
    text.starts_with(SPACES)
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}

fn word_token(word: &str) -> Token {
    match word {
        "true" => Token::Constant(Value::Bool(true)),
        "false" => Token::Constant(Value::Bool(false)),
        "nil" => Token::Nil,
        _ => match KEYWORDS.into_iter().find(|keyword| *keyword == word) {
            Some(keyword) => Token::Keyword(keyword),
            None => Token::Identifier(word.to_owned()),
        },
    }
}
