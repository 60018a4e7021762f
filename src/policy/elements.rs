//! Arrays, as the evaluator needs them: taken apart and put together.

use std::sync::Arc;

use super::function::Doubt;
use super::value::{Array, Value};

/// The elements of an array that is not NULL, whatever its dimensions, in storage order.
///
/// # Errors
/// When the value is no array.
pub fn of(array: &Value) -> Result<&[Value], Doubt> {
    match array {
        Value::Array(array) => Ok(array.elements()),
        _ => Err(Doubt::Unknown),
    }
}

/// A one-dimensional array.
///
/// # Errors
/// When an element is an array itself, which would add a dimension.
pub fn collect(elements: Vec<Value>) -> Result<Value, Doubt> {
    if elements.iter().any(|element| matches!(element, Value::Array(_))) {
        return Err(Doubt::Unknown);
    }
    Ok(Value::Array(Arc::new(Array::of(elements))))
}
