//! Arrays whose elements are equal to Postgres exactly if they are the same value here.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Doubt, Known};
use crate::policy::types::{ANYARRAY, ANYCOMPATIBLE, ANYCOMPATIBLEARRAY, BOOL, INT4};
use crate::policy::value::Value;
use crate::policy::value::array::{Array, Dimension, ELEMENTS_MAX};

/// Up to so many comparisons are made one by one; beyond it a set is built.
const COMPARISONS_MAX: usize = 256;

pub(super) static KNOWN: &[&[Known]] = &[
    &[
        Known::new("arraycontains", &[ANYARRAY, ANYARRAY], BOOL, |_, it| {
            let (left, right) = two(it)?;
            Ok(Value::Bool(contains(left, right)))
        }),
        Known::new("arraycontained", &[ANYARRAY, ANYARRAY], BOOL, |_, it| {
            let (left, right) = two(it)?;
            Ok(Value::Bool(contains(right, left)))
        }),
        Known::new("arrayoverlap", &[ANYARRAY, ANYARRAY], BOOL, |_, it| {
            let (left, right) = two(it)?;
            let held = Held::of(left, right.elements().len());
            let held = |element: &Value| !element.is_null() && held.has(element);
            Ok(Value::Bool(right.elements().iter().any(held)))
        }),
        Known::new("array_eq", &[ANYARRAY, ANYARRAY], BOOL, |_, it| {
            let (left, right) = two(it)?;
            Ok(Value::Bool(left == right))
        })
        .by_hash(),
        Known::new("array_ne", &[ANYARRAY, ANYARRAY], BOOL, |_, it| {
            let (left, right) = two(it)?;
            Ok(Value::Bool(left != right))
        }),
    ],
    &[
        Known::new("array_length", &[ANYARRAY, INT4], INT4, |_, it| {
            Ok(dimension(it)?.map_or(Value::Null, |it| Value::Int(it.length.into())))
        }),
        Known::new("array_lower", &[ANYARRAY, INT4], INT4, |_, it| {
            Ok(dimension(it)?.map_or(Value::Null, |it| Value::Int(it.lower.into())))
        }),
        Known::new("array_upper", &[ANYARRAY, INT4], INT4, |_, it| {
            let upper = |it: &Dimension| i64::from(it.lower) + i64::from(it.length) - 1;
            Ok(dimension(it)?.map_or(Value::Null, |it| Value::Int(upper(it))))
        }),
        Known::new("array_ndims", &[ANYARRAY], INT4, |_, it| match it {
            [Value::Array(array)] => Ok(match array.dimensions().len() {
                0 => Value::Null,
                count => count_of(count)?,
            }),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("array_cardinality", &[ANYARRAY], INT4, |_, it| match it {
            [Value::Array(array)] => count_of(array.elements().len()),
            _ => Err(Doubt::Unknown),
        }),
        Known::new("array_position", &[ANYCOMPATIBLEARRAY, ANYCOMPATIBLE], INT4, |_, it| position(it))
            .takes_null()
            .raises(),
        Known::new("array_append", &[ANYCOMPATIBLEARRAY, ANYCOMPATIBLE], ANYCOMPATIBLEARRAY, |_, it| {
            append(it)
        })
        .takes_null()
        .raises(),
    ],
];

fn two(values: &[Value]) -> Result<(&Array, &Array), Doubt> {
    match values {
        [Value::Array(left), Value::Array(right)] => Ok((left, right)),
        _ => Err(Doubt::Unknown),
    }
}

/// The elements that an array holds, so that many can be looked up.
enum Held<'a> {
    Few(&'a [Value]),
    Many(HashSet<&'a Value>),
}

impl<'a> Held<'a> {
    fn of(array: &'a Array, lookups: usize) -> Self {
        match array.elements().len().saturating_mul(lookups) <= COMPARISONS_MAX {
            true => Self::Few(array.elements()),
            false => Self::Many(array.elements().iter().collect()),
        }
    }

    fn has(&self, element: &Value) -> bool {
        match self {
            Self::Few(elements) => elements.contains(element),
            Self::Many(elements) => elements.contains(element),
        }
    }
}

/// NULL is contained in nothing.
fn contains(left: &Array, right: &Array) -> bool {
    let held = Held::of(left, right.elements().len());
    right.elements().iter().all(|element| !element.is_null() && held.has(element))
}

fn dimension(values: &[Value]) -> Result<Option<&Dimension>, Doubt> {
    match values {
        [Value::Array(array), Value::Int(number)] => {
            let place = number.checked_sub(1).and_then(|place| usize::try_from(place).ok());
            Ok(place.and_then(|place| array.dimensions().get(place)))
        }
        _ => Err(Doubt::Unknown),
    }
}

fn count_of(count: usize) -> Result<Value, Doubt> {
    i64::try_from(count).map(Value::Int).map_err(|_| Doubt::TooLong)
}

/// Where an element stands first; NULL is found too.
fn position(values: &[Value]) -> Result<Value, Doubt> {
    match values {
        [Value::Null, _] => Ok(Value::Null),
        [Value::Array(array), wanted] => {
            let lower = match array.dimensions() {
                [] => return Ok(Value::Null),
                [dimension] => i64::from(dimension.lower),
                _ => return Err(Doubt::Raises),
            };
            match array.elements().iter().position(|element| element == wanted) {
                Some(place) => Ok(Value::Int(lower + i64::try_from(place).map_err(|_| Doubt::TooLong)?)),
                None => Ok(Value::Null),
            }
        }
        _ => Err(Doubt::Unknown),
    }
}

fn append(values: &[Value]) -> Result<Value, Doubt> {
    let array = match values {
        [Value::Null, element] => Array::of(vec![element.clone()]),
        [Value::Array(array), element] => {
            let lower = match array.dimensions() {
                [] => 1,
                [dimension] => dimension.lower,
                _ => return Err(Doubt::Raises),
            };
            if array.elements().len() >= ELEMENTS_MAX {
                return Err(Doubt::TooLong);
            }
            let mut elements = array.elements().to_vec();
            elements.push(element.clone());
            let length = i32::try_from(elements.len()).map_err(|_| Doubt::TooLong)?;
            Array::new(&[Dimension { length, lower }], elements).ok_or(Doubt::Raises)?
        }
        _ => return Err(Doubt::Unknown),
    };
    Ok(Value::Array(Arc::new(array)))
}
