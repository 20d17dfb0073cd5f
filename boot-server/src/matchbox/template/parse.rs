//! Tokens to a tree. What Go's parser refuses is refused here.

use super::funcs;
use super::lex::{Spot, Token};
use super::tree::{Branch, Node, Operand, Pipeline, Set};
use super::value::Value;
use super::{MAX_DEPTH, TemplateError};

type Parsed<T> = Result<T, TemplateError>;

pub(super) fn parse(spots: Vec<Spot>) -> Parsed<Set> {
    let mut parser = Parser {
        spots,
        at: 0,
        variables: vec!["$".to_owned()],
        loops: 0,
        depth: 0,
        set: Set::new(),
    };
    let (main, end) = parser.list(true)?;
    if end != Ending::Text {
        return Err(parser.wrong("unexpected end or else"));
    }
    parser.set.insert(String::new(), main);
    Ok(parser.set)
}

struct Parser {
    spots: Vec<Spot>,
    at: usize,
    /// Variables in scope.
    variables: Vec<String>,
    /// Loops around, for `break` and `continue`.
    loops: usize,
    depth: usize,
    set: Set,
}

/// What ended a list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The end of the text.
    Text,
    /// `{{end}}`
    Closed,
    /// `{{else`, with what follows still to be read.
    Else,
}

impl Parser {
    /// Nodes up to the end of the text, or to an `end` or `else`.
    fn list(&mut self, is_top: bool) -> Parsed<(Vec<Node>, Ending)> {
        let mut nodes = Vec::new();
        while let Some(spot) = self.spots.get(self.at) {
            match &spot.token {
                Token::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    self.at += 1;
                }
                _ => {
                    self.expect(&Token::Left)?;
                    if self.take_keyword("end") {
                        self.expect(&Token::Right)?;
                        return Ok((nodes, Ending::Closed));
                    }
                    if self.take_keyword("else") {
                        return Ok((nodes, Ending::Else));
                    }
                    nodes.extend(self.action(is_top)?);
                }
            }
        }
        Ok((nodes, Ending::Text))
    }

    fn action(&mut self, is_top: bool) -> Parsed<Option<Node>> {
        let Some(Token::Keyword(keyword)) = self.peek() else {
            let pipeline = self.pipeline(&Token::Right)?;
            return Ok(Some(Node::Action(pipeline)));
        };
        let keyword = *keyword;
        self.at += 1;
        Ok(Some(match keyword {
            "if" => Node::If(self.nested(|it| it.branch("if"))?),
            "with" => Node::With(self.nested(|it| it.branch("with"))?),
            "range" => Node::Range(self.nested(|it| it.branch("range"))?),
            "template" => self.call()?,
            "block" => self.nested(Self::block)?,
            "define" if is_top => {
                self.nested(Self::define)?;
                return Ok(None);
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(self.wrong(&format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                }
                self.expect(&Token::Right)?;
                if keyword == "break" {
                    Node::Break
                } else {
                    Node::Continue
                }
            }
            _ => return Err(self.wrong(&format!("unexpected {keyword}"))),
        }))
    }

    fn branch(&mut self, what: &'static str) -> Parsed<Branch> {
        let scope = self.variables.len();
        let pipeline = self.declaring(&Token::Right, what == "range")?;
        self.loops += usize::from(what == "range");
        let (body, end) = self.list(false)?;
        self.loops -= usize::from(what == "range");
        let otherwise = match end {
            Ending::Closed => Vec::new(),
            Ending::Else => self.otherwise(what)?,
            Ending::Text => return Err(self.wrong("unexpected EOF")),
        };
        self.variables.truncate(scope);
        Ok(Branch {
            pipeline,
            body,
            otherwise,
        })
    }

    fn otherwise(&mut self, what: &'static str) -> Parsed<Vec<Node>> {
        if what == "if" && self.take_keyword("if") {
            return Ok(vec![Node::If(self.nested(|it| it.branch("if"))?)]);
        }
        if what == "with" && self.take_keyword("with") {
            return Ok(vec![Node::With(self.nested(|it| it.branch("with"))?)]);
        }
        self.expect(&Token::Right)?;
        match self.list(false)? {
            (nodes, Ending::Closed) => Ok(nodes),
            _ => Err(self.wrong("expected end")),
        }
    }

    fn call(&mut self) -> Parsed<Node> {
        let name = self.name()?;
        if self.peek() == Some(&Token::Right) {
            self.at += 1;
            return Ok(Node::Template(name, None));
        }
        Ok(Node::Template(name, Some(self.pipeline(&Token::Right)?)))
    }

    fn block(&mut self) -> Parsed<Node> {
        let name = self.name()?;
        let pipeline = self.pipeline(&Token::Right)?;
        self.body(name.clone())?;
        Ok(Node::Template(name, Some(pipeline)))
    }

    fn define(&mut self) -> Parsed<()> {
        let name = self.name()?;
        self.expect(&Token::Right)?;
        self.body(name)
    }

    /// The body of a template of that name, which sees no variables but its own.
    fn body(&mut self, name: String) -> Parsed<()> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.list(false)?;
        self.variables = variables;
        self.loops = loops;
        if end != Ending::Closed {
            return Err(self.wrong("unexpected EOF or else"));
        }
        // An empty one does not take the place of another.
        let is_empty = |nodes: &[Node]| {
            nodes
                .iter()
                .all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
        };
        match self.set.get(&name) {
            Some(known) if !is_empty(known) => {
                if !is_empty(&nodes) {
                    return Err(self.wrong(&format!("multiple definition of template {name:?}")));
                }
            }
            _ => drop(self.set.insert(name, nodes)),
        }
        Ok(())
    }

    fn name(&mut self) -> Parsed<String> {
        match self.next() {
            Some(Token::Constant(Value::Text(name))) => Ok(name.to_string()),
            _ => Err(self.wrong("a template's name has to be a quoted text")),
        }
    }

    fn pipeline(&mut self, end: &Token) -> Parsed<Pipeline> {
        self.declaring(end, false)
    }

    fn declaring(&mut self, end: &Token, is_range: bool) -> Parsed<Pipeline> {
        let mut pipeline = self.declarations(is_range)?;
        loop {
            pipeline.commands.push(self.command(end)?);
            if self.peek() == Some(&Token::Pipe) {
                self.at += 1;
                continue;
            }
            self.expect(end)?;
            break;
        }
        let later = pipeline.commands.iter().skip(1);
        let is_literal = |command: &Vec<Operand>| {
            matches!(
                command.first(),
                Some(Operand::Dot | Operand::Nil | Operand::Constant(_))
            )
        };
        if later.clone().any(is_literal) {
            return Err(self.wrong("non executable command in pipeline"));
        }
        if !pipeline.assigns {
            self.variables.extend(pipeline.variables.iter().cloned());
        }
        Ok(pipeline)
    }

    /// `$x :=`, `$x =`, and for a range `$i, $x :=`.
    fn declarations(&mut self, is_range: bool) -> Parsed<Pipeline> {
        let mut pipeline = Pipeline::default();
        let start = self.at;
        while let Some(Token::Variable(name)) = self.peek().cloned() {
            self.at += 1;
            pipeline.variables.push(name);
            match self.peek() {
                Some(Token::Comma) if is_range && pipeline.variables.len() == 1 => self.at += 1,
                Some(Token::Declare) => {
                    self.at += 1;
                    return Ok(pipeline);
                }
                Some(Token::Assign) => {
                    self.at += 1;
                    pipeline.assigns = true;
                    let unknown = |name: &&String| !self.variables.contains(name);
                    if let Some(name) = pipeline.variables.iter().find(unknown) {
                        return Err(self.wrong(&format!("undefined variable {name}")));
                    }
                    return Ok(pipeline);
                }
                _ => break,
            }
        }
        self.at = start;
        Ok(Pipeline::default())
    }

    fn command(&mut self, end: &Token) -> Parsed<Vec<Operand>> {
        let mut operands = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Pipe) => break,
                Some(token) if token == end => break,
                Some(_) => {}
                None => return Err(self.wrong("unexpected EOF")),
            }
            if !operands.is_empty() && !self.spots[self.at].spaced {
                return Err(self.wrong("unexpected token in operand"));
            }
            operands.push(self.nested(Self::operand)?);
        }
        match operands.as_slice() {
            [] => Err(self.wrong("missing value for command")),
            [Operand::Nil] => Err(self.wrong("nil is not a command")),
            _ => Ok(operands),
        }
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let operand = match self.next() {
            Some(Token::Dot) => Operand::Dot,
            Some(Token::Nil) => Operand::Nil,
            Some(Token::Constant(value)) => Operand::Constant(value),
            Some(Token::Identifier(name)) if funcs::is_known(&name) => Operand::Function(name),
            Some(Token::Identifier(name)) => {
                return Err(self.wrong(&format!("function {name:?} not defined")));
            }
            Some(Token::Field(name)) => Operand::Field(vec![name]),
            Some(Token::Variable(name)) if self.variables.contains(&name) => {
                Operand::Variable(name, Vec::new())
            }
            Some(Token::Variable(name)) => {
                return Err(self.wrong(&format!("undefined variable {name}")));
            }
            Some(Token::Open) => {
                Operand::Nested(Box::new(self.pipeline(&Token::Close)?), Vec::new())
            }
            _ => return Err(self.wrong("unexpected token in operand")),
        };
        self.chain(operand)
    }

    /// Fields that follow without a space between.
    fn chain(&mut self, mut operand: Operand) -> Parsed<Operand> {
        while let Some(spot) = self.spots.get(self.at).filter(|spot| !spot.spaced) {
            let Token::Field(name) = &spot.token else {
                break;
            };
            let name = name.clone();
            match &mut operand {
                Operand::Field(names) | Operand::Variable(_, names) | Operand::Nested(_, names) => {
                    names.push(name)
                }
                _ => return Err(self.wrong("unexpected . after term")),
            }
            self.at += 1;
        }
        Ok(operand)
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong("nested too deep"));
        }
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn peek(&self) -> Option<&Token> {
        self.spots.get(self.at).map(|spot| &spot.token)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Token::Keyword(found)) if *found == keyword);
        self.at += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, token: &Token) -> Parsed<()> {
        if self.peek() == Some(token) {
            self.at += 1;
            return Ok(());
        }
        Err(self.wrong(&format!("unexpected token, {token:?} was expected")))
    }

    fn wrong(&self, message: &str) -> TemplateError {
        let spot = self
            .spots
            .get(self.at.min(self.spots.len().saturating_sub(1)));
        TemplateError::Parse {
            line: spot.map_or(1, |spot| spot.line),
            message: message.to_owned(),
        }
    }
}
