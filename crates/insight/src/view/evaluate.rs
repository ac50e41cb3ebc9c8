//! Running a [View] on one resource.

use super::{Each, MAX_REPEAT, MAX_ROWS, Path, Row, Select, View, ViewError};
use fhir::path::{Env, Expr, Item, PathError, evaluate_on};
use serde_json::Value;

fn wrong<T>(at: &str, text: impl Into<String>) -> Result<T, ViewError> {
    Err(ViewError::Evaluation { at: at.to_owned(), text: text.into() })
}

pub(super) fn rows<'a>(view: &'a View, resource: &'a Value) -> Result<Vec<Row>, ViewError> {
    if resource.get("resourceType").and_then(Value::as_str) != Some(view.kind.name()) {
        return Ok(Vec::new());
    }
    let constants = view.constants.iter();
    let variables =
        constants.map(|c| (c.name.clone(), vec![Item::element(&c.value, None, &c.kind)])).collect();
    let run = Run { resource, env: Env { variables, ..Env::default() } };
    let context = Item::resource(resource);
    for filter in &view.filters {
        if !run.holds(filter, &context)? {
            return Ok(Vec::new());
        }
    }
    let mut rows = vec![Row::new()];
    for select in &view.selects {
        rows = product(rows, run.select(select, &context)?)?;
    }
    Ok(rows)
}

struct Run<'a> {
    resource: &'a Value,
    env: Env<'a>,
}

impl<'a> Run<'a> {
    fn items(&self, expression: &Expr, context: &Item<'a>) -> Result<Vec<Item<'a>>, PathError> {
        evaluate_on(expression, vec![context.clone()], self.resource, &self.env)
    }

    fn holds(&self, filter: &Expr, context: &Item<'a>) -> Result<bool, ViewError> {
        let found = self.items(filter, context).or_else(|error| wrong("where", error.to_string()))?;
        match found.as_slice() {
            [] => Ok(false),
            [one] => match one.as_bool() {
                Some(truth) => Ok(truth),
                None => wrong("where", "the path does not come to a boolean"),
            },
            _ => wrong("where", "the path comes to several values"),
        }
    }

    fn select(&self, select: &Select, context: &Item<'a>) -> Result<Vec<Row>, ViewError> {
        let each = |name: &str, expression: &Expr| {
            self.items(expression, context).or_else(|error| wrong(name, error.to_string()))
        };
        let (items, or_null) = match &select.each {
            Each::Context => return self.one(select, context),
            Each::Item(expression) => (each("forEach", expression)?, false),
            Each::ItemOrNull(expression) => (each("forEachOrNull", expression)?, true),
            Each::Repeat(expressions) => (self.repeat(expressions, context)?, false),
        };
        if items.is_empty() && or_null {
            return Ok(vec![vec![Value::Null; select.width]]);
        }
        let mut rows = Vec::new();
        for item in &items {
            rows.extend(self.one(select, item)?);
            bounded(rows.len())?;
        }
        Ok(rows)
    }

    /// Depth first: an item before what it leads to.
    fn repeat(&self, expressions: &[Expr], context: &Item<'a>) -> Result<Vec<Item<'a>>, ViewError> {
        let mut found = Vec::new();
        let mut waiting = self.step(expressions, context)?;
        waiting.reverse();
        while let Some(item) = waiting.pop() {
            let mut next = self.step(expressions, &item)?;
            next.reverse();
            waiting.extend(next);
            found.push(item);
            if found.len() + waiting.len() > MAX_REPEAT {
                return wrong("repeat", format!("more than {MAX_REPEAT} items"));
            }
        }
        Ok(found)
    }

    fn step(&self, expressions: &[Expr], context: &Item<'a>) -> Result<Vec<Item<'a>>, ViewError> {
        let mut found = Vec::new();
        for expression in expressions {
            found
                .extend(self.items(expression, context).or_else(|error| wrong("repeat", error.to_string()))?);
        }
        Ok(found)
    }

    /// The rows of a select for one item.
    fn one(&self, select: &Select, item: &Item<'a>) -> Result<Vec<Row>, ViewError> {
        let mut own = Vec::with_capacity(select.width);
        for path in &select.columns {
            own.push(self.cell(path, item)?);
        }
        let mut rows = vec![own];
        for inner in &select.selects {
            rows = product(rows, self.select(inner, item)?)?;
        }
        if !select.unions.is_empty() {
            let mut branches = Vec::new();
            for branch in &select.unions {
                branches.extend(self.select(branch, item)?);
                bounded(branches.len())?;
            }
            rows = product(rows, branches)?;
        }
        Ok(rows)
    }

    fn cell(&self, path: &Path, item: &Item<'a>) -> Result<Value, ViewError> {
        let found =
            self.items(&path.expression, item).or_else(|error| wrong(&path.name, error.to_string()))?;
        if path.collection {
            return Ok(Value::Array(found.iter().map(Item::to_json).filter(|v| !v.is_null()).collect()));
        }
        match found.as_slice() {
            [] => Ok(Value::Null),
            [one] => Ok(one.to_json()),
            _ => wrong(&path.name, "the path comes to several values, and the column is no collection"),
        }
    }
}

fn bounded(rows: usize) -> Result<(), ViewError> {
    if rows > MAX_ROWS {
        wrong("select", format!("one resource gives more than {MAX_ROWS} rows"))
    } else {
        Ok(())
    }
}

/// Every row of the left with every row of the right behind it.
fn product(left: Vec<Row>, right: Vec<Row>) -> Result<Vec<Row>, ViewError> {
    bounded(left.len().saturating_mul(right.len()))?;
    if let [_] = right.as_slice() {
        let mut left = left;
        for row in &mut left {
            row.extend_from_slice(&right[0]);
        }
        return Ok(left);
    }
    let mut rows = Vec::with_capacity(left.len() * right.len());
    for a in &left {
        for b in &right {
            let mut row = Vec::with_capacity(a.len() + b.len());
            row.extend_from_slice(a);
            row.extend_from_slice(b);
            rows.push(row);
        }
    }
    Ok(rows)
}
