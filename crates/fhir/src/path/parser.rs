//! Recursive-descent parser to [Node].

use super::PathError;
use super::token::{Token, tokens};

/// Nested parentheses, calls and operators; deeper expressions are refused.
pub(crate) const MAX_NESTING: usize = 64;
/// Operators and steps in one expression. Chains become nested nodes, so this bounds the evaluator's stack.
pub(crate) const MAX_STEPS: usize = 1000;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// `{}`
    Empty,
    Boolean(bool),
    String(String),
    Number(String),
    DateTime(String),
    Time(String),
    /// Number and unit: a UCUM code, or a calendar word such as `days`.
    Quantity {
        value: String,
        unit: String,
        calendar: bool,
    },
    Variable(String),
    This,
    Index,
    Total,
    /// `name` or `input.name`.
    Member(Option<Box<Node>>, String),
    /// `name(…)` or `input.name(…)`.
    Call(Option<Box<Node>>, String, Vec<Node>),
    At(Box<Node>, Box<Node>),
    Negate(Box<Node>),
    Plus(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    /// `input is Type`
    Is(Box<Node>, TypeName),
    /// `input as Type`
    As(Box<Node>, TypeName),
}

/// `Patient`, `FHIR.Patient`, `System.String`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TypeName {
    pub namespace: Option<String>,
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Multiply,
    Divide,
    Div,
    Mod,
    Add,
    Subtract,
    Concatenate,
    Union,
    LessOrEqual,
    Less,
    Greater,
    GreaterOrEqual,
    Equal,
    Equivalent,
    NotEqual,
    NotEquivalent,
    In,
    Contains,
    And,
    Or,
    Xor,
    Implies,
}

pub(crate) fn parse(text: &str) -> Result<Node, PathError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, end: text.len(), depth: 0, steps: 0 };
    let node = parser.expression(0)?;
    if parser.at < parser.tokens.len() {
        return parser.error("unexpected text after the expression");
    }
    Ok(node)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    end: usize,
    depth: usize,
    steps: usize,
}

/// Lowest first. `is` and `as` stand between `+` and `|`.
const LEVELS: &[&[(&str, Operator)]] = &[
    &[("implies", Operator::Implies)],
    &[("or", Operator::Or), ("xor", Operator::Xor)],
    &[("and", Operator::And)],
    &[("in", Operator::In), ("contains", Operator::Contains)],
    &[
        ("=", Operator::Equal),
        ("~", Operator::Equivalent),
        ("!=", Operator::NotEqual),
        ("!~", Operator::NotEquivalent),
    ],
    &[
        ("<=", Operator::LessOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        (">=", Operator::GreaterOrEqual),
    ],
    &[("|", Operator::Union)],
    &[],
    &[("+", Operator::Add), ("-", Operator::Subtract), ("&", Operator::Concatenate)],
    &[("*", Operator::Multiply), ("/", Operator::Divide), ("div", Operator::Div), ("mod", Operator::Mod)],
];
const TYPE_LEVEL: usize = 7;

pub(crate) const CALENDAR: &[&str] = &[
    "year",
    "years",
    "month",
    "months",
    "week",
    "weeks",
    "day",
    "days",
    "hour",
    "hours",
    "minute",
    "minutes",
    "second",
    "seconds",
    "millisecond",
    "milliseconds",
];

impl Parser {
    fn error<T>(&self, text: &str) -> Result<T, PathError> {
        let at = self.tokens.get(self.at).map_or(self.end, |(at, _)| *at);
        Err(PathError::Syntax { at, text: text.to_owned() })
    }
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(_, t)| t)
    }
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|(_, t)| t.clone());
        self.at += 1;
        token
    }
    fn is(&self, word: &str) -> bool {
        match self.peek() {
            Some(Token::Symbol(s)) => *s == word,
            Some(Token::Identifier(i)) => i == word,
            _ => false,
        }
    }
    fn accept(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.at += 1;
        }
        found
    }
    fn expect(&mut self, word: &str) -> Result<(), PathError> {
        if self.accept(word) { Ok(()) } else { self.error(&format!("expected `{word}`")) }
    }

    fn expression(&mut self, level: usize) -> Result<Node, PathError> {
        self.depth += 1;
        if self.depth > MAX_NESTING * LEVELS.len() {
            return self.error("the expression is nested too deeply");
        }
        let node = self.binary(level);
        self.depth -= 1;
        node
    }

    fn step(&mut self) -> Result<(), PathError> {
        self.steps += 1;
        if self.steps > MAX_STEPS { self.error("the expression is too long") } else { Ok(()) }
    }

    fn binary(&mut self, level: usize) -> Result<Node, PathError> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.expression(level + 1)?;
        loop {
            if level == TYPE_LEVEL {
                if self.is("is") || self.is("as") {
                    self.step()?;
                }
                if self.accept("is") {
                    left = Node::Is(Box::new(left), self.type_name()?);
                } else if self.accept("as") {
                    left = Node::As(Box::new(left), self.type_name()?);
                } else {
                    return Ok(left);
                }
                continue;
            }
            let Some((_, operator)) = operators.iter().find(|(word, _)| self.is(word)).copied() else {
                return Ok(left);
            };
            self.step()?;
            self.at += 1;
            let right = self.expression(level + 1)?;
            left = Node::Binary(operator, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Result<Node, PathError> {
        if self.accept("-") {
            return Ok(Node::Negate(Box::new(self.expression(LEVELS.len())?)));
        }
        if self.accept("+") {
            return Ok(Node::Plus(Box::new(self.expression(LEVELS.len())?)));
        }
        let mut node = self.term()?;
        loop {
            self.step()?;
            if self.accept(".") {
                node = self.invocation(Some(Box::new(node)))?;
            } else if self.accept("[") {
                let index = self.expression(0)?;
                self.expect("]")?;
                node = Node::At(Box::new(node), Box::new(index));
            } else {
                return Ok(node);
            }
        }
    }

    fn term(&mut self) -> Result<Node, PathError> {
        match self.peek() {
            Some(Token::Symbol("(")) => {
                self.at += 1;
                let node = self.expression(0)?;
                self.expect(")")?;
                Ok(node)
            }
            Some(Token::Symbol("{")) => {
                self.at += 1;
                self.expect("}")?;
                Ok(Node::Empty)
            }
            Some(Token::Identifier(i)) if i == "true" || i == "false" => {
                let value = i == "true";
                self.at += 1;
                Ok(Node::Boolean(value))
            }
            Some(Token::String(s)) => {
                let node = Node::String(s.clone());
                self.at += 1;
                Ok(node)
            }
            Some(Token::DateTime(d)) => {
                let node = Node::DateTime(d.clone());
                self.at += 1;
                Ok(node)
            }
            Some(Token::Time(t)) => {
                let node = Node::Time(t.clone());
                self.at += 1;
                Ok(node)
            }
            Some(Token::Variable(v)) => {
                let node = Node::Variable(v.clone());
                self.at += 1;
                Ok(node)
            }
            Some(Token::Number(n)) => {
                let value = n.clone();
                self.at += 1;
                Ok(self.number(value))
            }
            _ => self.invocation(None),
        }
    }

    fn number(&mut self, value: String) -> Node {
        match self.peek() {
            Some(Token::String(unit)) => {
                let unit = unit.clone();
                self.at += 1;
                Node::Quantity { value, unit, calendar: false }
            }
            Some(Token::Identifier(word)) if CALENDAR.contains(&word.as_str()) => {
                let unit = word.clone();
                self.at += 1;
                Node::Quantity { value, unit, calendar: true }
            }
            _ => Node::Number(value),
        }
    }

    fn invocation(&mut self, input: Option<Box<Node>>) -> Result<Node, PathError> {
        let (name, delimited) = match self.next() {
            Some(Token::Identifier(i)) => (i, false),
            Some(Token::Delimited(d)) => (d, true),
            Some(Token::Special(s)) => {
                return match (s.as_str(), input) {
                    ("this", None) => Ok(Node::This),
                    ("index", None) => Ok(Node::Index),
                    ("total", None) => Ok(Node::Total),
                    _ => {
                        self.at -= 1;
                        self.error("a variable cannot follow a dot")
                    }
                };
            }
            _ => {
                self.at -= 1;
                return self.error("expected a name, a literal or a parenthesis");
            }
        };
        if !self.is("(") {
            // Behind a dot nothing but a name can stand, so `text.div` needs no backticks.
            if !delimited
                && input.is_none()
                && matches!(
                    name.as_str(),
                    "and" | "or" | "xor" | "implies" | "div" | "mod" | "true" | "false"
                )
            {
                self.at -= 1;
                return self.error("a keyword cannot stand here");
            }
            return Ok(Node::Member(input, name));
        }
        self.at += 1;
        let mut arguments = Vec::new();
        if !self.accept(")") {
            loop {
                arguments.push(self.expression(0)?);
                if self.accept(")") {
                    break;
                }
                self.expect(",")?;
            }
        }
        Ok(Node::Call(input, name, arguments))
    }

    fn type_name(&mut self) -> Result<TypeName, PathError> {
        let mut parts = vec![self.name()?];
        while self.accept(".") {
            parts.push(self.name()?);
        }
        match <[String; 2]>::try_from(parts) {
            Ok([namespace, name]) => Ok(TypeName { namespace: Some(namespace), name }),
            Err(mut parts) if parts.len() == 1 => Ok(TypeName { namespace: None, name: parts.remove(0) }),
            Err(_) => self.error("a type name has at most two parts"),
        }
    }

    fn name(&mut self) -> Result<String, PathError> {
        match self.next() {
            Some(Token::Identifier(n) | Token::Delimited(n)) => Ok(n),
            _ => {
                self.at -= 1;
                self.error("expected a type name")
            }
        }
    }
}

impl Node {
    /// What has to be evaluated before this node, at the left of it.
    pub fn input(&self) -> Option<&Node> {
        match self {
            Node::Member(Some(input), _)
            | Node::Call(Some(input), ..)
            | Node::At(input, _)
            | Node::Negate(input)
            | Node::Plus(input)
            | Node::Binary(_, input, _)
            | Node::Is(input, _)
            | Node::As(input, _) => Some(input),
            _ => None,
        }
    }
    /// This node and all below it.
    pub fn visit(&self, seen: &mut impl FnMut(&Node)) {
        seen(self);
        match self {
            Node::Member(Some(input), _) | Node::Is(input, _) | Node::As(input, _) => input.visit(seen),
            Node::Negate(inner) | Node::Plus(inner) => inner.visit(seen),
            Node::Call(input, _, arguments) => {
                if let Some(input) = input {
                    input.visit(seen);
                }
                arguments.iter().for_each(|a| a.visit(seen));
            }
            Node::At(left, right) | Node::Binary(_, left, right) => {
                left.visit(seen);
                right.visit(seen);
            }
            _ => {}
        }
    }
    /// Reads the argument of `is()`, `as()` and `ofType()` as a type: `Patient`, `FHIR.Patient`.
    pub fn as_type_name(&self) -> Option<TypeName> {
        match self {
            Node::Member(None, name) => Some(TypeName { namespace: None, name: name.clone() }),
            Node::Member(Some(input), name) => match &**input {
                Node::Member(None, namespace) => {
                    Some(TypeName { namespace: Some(namespace.clone()), name: name.clone() })
                }
                _ => None,
            },
            _ => None,
        }
    }
}
