//! Walking the tree with values.

use std::rc::Rc;

use super::format;
use super::funcs;
use super::tree::{Branch, Node, Operand, Pipeline, Set};
use super::value::Value;
use super::{MAX_DEPTH, MAX_OUTPUT, MAX_STEPS};

/// A result, or in words why there is none.
pub(super) type Evaluated<T> = Result<T, String>;

pub(super) fn render(set: &Set, data: &Value) -> Evaluated<String> {
    let mut run = Run {
        set,
        out: String::new(),
        steps: 0,
        depth: 0,
        variables: vec![("$".to_owned(), data.clone())],
    };
    let main = set.get("").map(Vec::as_slice).unwrap_or_default();
    run.walk(data, main)?;
    Ok(run.out)
}

struct Run<'a> {
    set: &'a Set,
    out: String,
    steps: usize,
    /// Templates that called each other.
    depth: usize,
    /// Variables in scope, the innermost last.
    variables: Vec<(String, Value)>,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl Run<'_> {
    fn walk(&mut self, dot: &Value, nodes: &[Node]) -> Evaluated<Flow> {
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(text) => self.write(text),
                Node::Action(pipeline) => self.action(dot, pipeline),
                Node::If(branch) => self.branch(dot, branch, false),
                Node::With(branch) => self.branch(dot, branch, true),
                Node::Range(branch) => self.range(dot, branch),
                Node::Template(name, pipeline) => self.call(dot, name, pipeline.as_ref()),
                Node::Break => Ok(Flow::Break),
                Node::Continue => Ok(Flow::Continue),
            }?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn action(&mut self, dot: &Value, pipeline: &Pipeline) -> Evaluated<Flow> {
        let value = self.pipeline(dot, pipeline)?;
        if pipeline.variables.is_empty() {
            return self.write(&format::shown(&value)?);
        }
        Ok(Flow::On)
    }

    fn branch(&mut self, dot: &Value, branch: &Branch, is_with: bool) -> Evaluated<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let flow = if value.is_true() {
            self.walk(if is_with { &value } else { dot }, &branch.body)
        } else {
            self.walk(dot, &branch.otherwise)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, dot: &Value, branch: &Branch) -> Evaluated<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(dot, &branch.pipeline)?;
        let inner = self.variables.len();
        let mut is_empty = true;
        let mut each = |run: &mut Self, key: Value, item: Value| {
            is_empty = false;
            run.step()?;
            run.set_loop(&branch.pipeline, key, &item)?;
            let flow = run.walk(&item, &branch.body);
            run.variables.truncate(inner);
            flow.map(|flow| flow != Flow::Break)
        };
        match &value {
            Value::Nil => {}
            Value::List(items) => {
                for (at, item) in (0_i64..).zip(items.iter()) {
                    if !each(self, Value::Int(at), item.clone())? {
                        break;
                    }
                }
            }
            Value::Map(entries) => {
                for (key, item) in entries.iter() {
                    if !each(self, Value::text(key), item.clone())? {
                        break;
                    }
                }
            }
            Value::Texts(entries) => {
                for (key, item) in entries.iter() {
                    if !each(self, Value::text(key), Value::text(item))? {
                        break;
                    }
                }
            }
            Value::Int(count) if branch.pipeline.variables.len() < 2 => {
                for at in 0..*count {
                    if !each(self, Value::Int(at), Value::Int(at))? {
                        break;
                    }
                }
            }
            other => return Err(format!("range can't iterate over {}", other.go_type())),
        }
        let flow = if is_empty {
            self.walk(dot, &branch.otherwise)
        } else {
            Ok(Flow::On)
        };
        self.variables.truncate(scope);
        flow
    }

    /// The variables of a loop: with one it is the item, with two the key comes
    /// first.
    fn set_loop(&mut self, pipeline: &Pipeline, key: Value, item: &Value) -> Evaluated<()> {
        match pipeline.variables.as_slice() {
            [] => Ok(()),
            [one] => self.assign(one, item.clone()),
            [first, second, ..] => {
                self.assign(first, key)?;
                self.assign(second, item.clone())
            }
        }
    }

    fn call(&mut self, dot: &Value, name: &str, pipeline: Option<&Pipeline>) -> Evaluated<Flow> {
        let set = self.set;
        let nodes = set
            .get(name)
            .ok_or_else(|| format!("template {name:?} not defined"))?;
        let data = match pipeline {
            Some(pipeline) => self.pipeline(dot, pipeline)?,
            None => Value::Nil,
        };
        if self.depth >= MAX_DEPTH {
            return Err("templates call each other too deep".into());
        }
        self.depth += 1;
        let own = vec![("$".to_owned(), data.clone())];
        let outer = std::mem::replace(&mut self.variables, own);
        let flow = self.walk(&data, nodes);
        self.variables = outer;
        self.depth -= 1;
        flow
    }

    fn pipeline(&mut self, dot: &Value, pipeline: &Pipeline) -> Evaluated<Value> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(dot, command, last)?);
        }
        let value = last.unwrap_or(Value::Nil);
        for name in &pipeline.variables {
            if pipeline.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        dot: &Value,
        command: &[Operand],
        last: Option<Value>,
    ) -> Evaluated<Value> {
        self.step()?;
        let (first, arguments) = command.split_first().ok_or("empty command")?;
        let Operand::Function(name) = first else {
            if !arguments.is_empty() || last.is_some() {
                return Err("can't give argument to non-function".into());
            }
            return self.operand(dot, first);
        };
        if matches!(name.as_str(), "and" | "or") {
            return self.and_or(dot, name == "or", arguments, last);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(dot, argument)?);
        }
        values.extend(last);
        funcs::call(name, &values)
    }

    /// They look at no argument beyond the one that decides.
    fn and_or(
        &mut self,
        dot: &Value,
        is_or: bool,
        arguments: &[Operand],
        last: Option<Value>,
    ) -> Evaluated<Value> {
        let mut value = None;
        for argument in arguments {
            let next = self.operand(dot, argument)?;
            if next.is_true() == is_or {
                return Ok(next);
            }
            value = Some(next);
        }
        last.or(value)
            .ok_or_else(|| "wrong number of args for and, or: want at least 1 got 0".into())
    }

    fn operand(&mut self, dot: &Value, operand: &Operand) -> Evaluated<Value> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Field(names) => fields(dot, names),
            Operand::Variable(name, names) => fields(self.variable(name)?, names),
            Operand::Function(name) if matches!(name.as_str(), "and" | "or") => {
                self.and_or(dot, name == "or", &[], None)
            }
            Operand::Function(name) => funcs::call(name, &[]),
            Operand::Nested(pipeline, names) => {
                let value = self.pipeline(dot, pipeline)?;
                fields(&value, names)
            }
        }
    }

    fn variable(&self, name: &str) -> Evaluated<&Value> {
        let found = self.variables.iter().rfind(|(known, _)| known == name);
        found
            .map(|(_, value)| value)
            .ok_or_else(|| format!("undefined variable: {name}"))
    }

    fn assign(&mut self, name: &str, value: Value) -> Evaluated<()> {
        let found = self.variables.iter_mut().rfind(|(known, _)| known == name);
        let (_, slot) = found.ok_or_else(|| format!("undefined variable: {name}"))?;
        *slot = value;
        Ok(())
    }

    fn write(&mut self, text: &str) -> Evaluated<Flow> {
        if self.out.len().saturating_add(text.len()) > MAX_OUTPUT {
            return Err(format!("it renders more than {MAX_OUTPUT} bytes"));
        }
        self.out.push_str(text);
        Ok(Flow::On)
    }

    fn step(&mut self) -> Evaluated<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(format!("it takes more than {MAX_STEPS} steps"));
        }
        Ok(())
    }
}

/// The field of the field; one that is not there is an error.
fn fields(value: &Value, names: &[String]) -> Evaluated<Value> {
    let mut value = value.clone();
    for name in names {
        let found = match &value {
            Value::Map(entries) => entries.get(name).cloned(),
            Value::Texts(entries) => entries.get(name).map(|text| Value::Text(Rc::from(&**text))),
            Value::Nil => return Err(format!("nil data; no entry for key {name:?}")),
            other => {
                return Err(format!(
                    "can't evaluate field {name} in type {}",
                    other.go_type()
                ));
            }
        };
        value = found.ok_or_else(|| format!("map has no entry for key {name:?}"))?;
    }
    Ok(value)
}
