//! Running a [View] on one resource.

use super::budget::Budget;
use super::{Each, MAX_REPEAT, MAX_ROWS, Path, Row, Select, View, ViewError};
use fhir::path::{Env, Expr, Item, evaluate_on};
use serde_json::Value;

fn wrong<T>(at: &str, text: impl Into<String>) -> Result<T, ViewError> {
    Err(ViewError::Evaluation { at: at.to_owned(), text: text.into() })
}

/// At most `limit` rows: the work for those behind it is not done.
pub(super) fn rows<'a>(
    view: &'a View,
    resource: &'a Value,
    budget: &'a Budget,
    limit: usize,
) -> Result<Vec<Row>, ViewError> {
    if limit == 0 || resource.get("resourceType").and_then(Value::as_str) != Some(view.kind.name()) {
        return Ok(Vec::new());
    }
    let begun = budget.begin()?;
    let made = made(view, resource, budget, limit);
    // What was used is used, also by what failed.
    budget.end(begun, made.as_ref().map_or(0, Vec::len))?;
    made
}

fn made<'a>(
    view: &'a View,
    resource: &'a Value,
    budget: &'a Budget,
    limit: usize,
) -> Result<Vec<Row>, ViewError> {
    let constants = view.constants.iter();
    let variables =
        constants.map(|c| (c.name.clone(), vec![Item::element(&c.value, None, &c.kind)])).collect();
    let env = Env { variables, left: Some(&budget.steps_left), ..Env::default() };
    let run = Run { resource, budget, env };
    let context = Item::resource(resource);
    for filter in &view.filters {
        if !run.holds(filter, &context)? {
            return Ok(Vec::new());
        }
    }
    // One more than may be, to see that it is too many.
    let most = limit.min(MAX_ROWS + 1);
    let mut rows = vec![Row::new()];
    for select in &view.selects {
        rows = run.product(rows, run.select(select, &context, most)?, most)?;
    }
    bounded(rows.len())?;
    Ok(rows)
}

struct Run<'a> {
    resource: &'a Value,
    budget: &'a Budget,
    env: Env<'a>,
}

/// Rows are made up to `most`, everywhere: the first rows of a product need no more of its factors, since a factor that
/// is not empty has at least one.
impl<'a> Run<'a> {
    /// `at` names the column or element.
    fn items(&self, expression: &Expr, context: &Item<'a>, at: &str) -> Result<Vec<Item<'a>>, ViewError> {
        self.budget.tick()?;
        match evaluate_on(expression, vec![context.clone()], self.resource, &self.env) {
            Ok(found) => Ok(found),
            Err(error) => {
                self.budget.step()?;
                wrong(at, error.to_string())
            }
        }
    }

    fn holds(&self, filter: &Expr, context: &Item<'a>) -> Result<bool, ViewError> {
        let found = self.items(filter, context, "where")?;
        match found.as_slice() {
            [] => Ok(false),
            [one] => match one.as_bool() {
                Some(truth) => Ok(truth),
                None => wrong("where", "the path does not come to a boolean"),
            },
            _ => wrong("where", "the path comes to several values"),
        }
    }

    fn select(&self, select: &Select, context: &Item<'a>, most: usize) -> Result<Vec<Row>, ViewError> {
        let (items, or_null) = match &select.each {
            Each::Context => return self.one(select, context, most),
            Each::Item(expression) => (self.items(expression, context, "forEach")?, false),
            Each::ItemOrNull(expression) => (self.items(expression, context, "forEachOrNull")?, true),
            Each::Repeat(expressions) => return self.repeat(select, expressions, context, most),
        };
        if items.is_empty() && or_null {
            return Ok(vec![vec![Value::Null; select.width]]);
        }
        let mut rows = Vec::new();
        for item in &items {
            rows.extend(self.one(select, item, most - rows.len())?);
            bounded(rows.len())?;
            if rows.len() >= most {
                break;
            }
        }
        Ok(rows)
    }

    /// Depth first: an item before what it leads to.
    fn repeat(
        &self,
        select: &Select,
        expressions: &[Expr],
        context: &Item<'a>,
        most: usize,
    ) -> Result<Vec<Row>, ViewError> {
        let (mut rows, mut visited) = (Vec::new(), 0);
        let mut waiting = self.step(expressions, context)?;
        waiting.reverse();
        while let Some(item) = waiting.pop() {
            visited += 1;
            rows.extend(self.one(select, &item, most - rows.len())?);
            bounded(rows.len())?;
            if rows.len() >= most {
                break;
            }
            let mut next = self.step(expressions, &item)?;
            next.reverse();
            waiting.extend(next);
            if visited + waiting.len() > MAX_REPEAT {
                return too_much("repeat", format!("more than {MAX_REPEAT} items"));
            }
        }
        Ok(rows)
    }

    fn step(&self, expressions: &[Expr], context: &Item<'a>) -> Result<Vec<Item<'a>>, ViewError> {
        let mut found = Vec::new();
        for expression in expressions {
            found.extend(self.items(expression, context, "repeat")?);
        }
        Ok(found)
    }

    /// The rows of a select for one item.
    fn one(&self, select: &Select, item: &Item<'a>, most: usize) -> Result<Vec<Row>, ViewError> {
        let mut own = Vec::with_capacity(select.width);
        for path in &select.columns {
            own.push(self.cell(path, item)?);
        }
        self.budget.keep(&own)?;
        let mut rows = vec![own];
        for inner in &select.selects {
            rows = self.product(rows, self.select(inner, item, most)?, most)?;
        }
        if !select.unions.is_empty() {
            let mut branches = Vec::new();
            for branch in &select.unions {
                branches.extend(self.select(branch, item, most - branches.len())?);
                bounded(branches.len())?;
                if branches.len() >= most {
                    break;
                }
            }
            rows = self.product(rows, branches, most)?;
        }
        Ok(rows)
    }

    fn cell(&self, path: &Path, item: &Item<'a>) -> Result<Value, ViewError> {
        let found = self.items(&path.expression, item, &path.name)?;
        if path.collection {
            return Ok(Value::Array(found.iter().map(Item::to_json).filter(|v| !v.is_null()).collect()));
        }
        match found.as_slice() {
            [] => Ok(Value::Null),
            [one] => Ok(one.to_json()),
            _ => wrong(&path.name, "the path comes to several values, and the column is no collection"),
        }
    }

    /// Every row of the left with every row of the right behind it, the first `most` of them.
    fn product(&self, left: Vec<Row>, right: Vec<Row>, most: usize) -> Result<Vec<Row>, ViewError> {
        if let [only] = right.as_slice() {
            let mut left = left;
            for row in &mut left {
                row.extend_from_slice(only);
                self.budget.keep(only)?;
            }
            return Ok(left);
        }
        let mut rows = Vec::with_capacity(left.len().saturating_mul(right.len()).min(most));
        for a in &left {
            self.budget.tick()?;
            for b in &right {
                if rows.len() >= most {
                    return Ok(rows);
                }
                bounded(rows.len())?;
                self.budget.keep(a)?;
                self.budget.keep(b)?;
                let mut row = Vec::with_capacity(a.len() + b.len());
                row.extend_from_slice(a);
                row.extend_from_slice(b);
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

fn too_much<T>(at: &str, text: String) -> Result<T, ViewError> {
    Err(ViewError::TooMuch { at: at.to_owned(), text })
}

fn bounded(rows: usize) -> Result<(), ViewError> {
    if rows > MAX_ROWS {
        too_much("select", format!("one resource gives more than {MAX_ROWS} rows"))
    } else {
        Ok(())
    }
}
