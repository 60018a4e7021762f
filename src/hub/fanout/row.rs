//! Logged rows, as programs read them: the columns that they need, decoded once however many callers are judged.

use std::borrow::Cow;

use crate::change::{Image, RowChange};
use crate::policy::Program;
use crate::policy::function::Doubt;
use crate::policy::program::Tuple;
use crate::policy::row::{RowDecoder, RowValues};
use crate::policy::value::Value;
use crate::wal::tuple::Datum;

/// One side of a change.
#[derive(Debug)]
pub(super) struct Row(RowValues);

impl Row {
    /// The row as a change left it; `None` for deletes.
    pub(super) fn new(change: &RowChange, decoder: &RowDecoder, program: &Program) -> Option<Self> {
        let image = change.new.as_ref()?;
        let unchanged = change.old.as_ref().filter(|_| change.old_is_full);
        Some(Self::of(&filled(image, unchanged), decoder, program))
    }

    /// The row as a change found it; `None` if not all of it was logged.
    pub(super) fn old(change: &RowChange, decoder: &RowDecoder, program: &Program) -> Option<Self> {
        let image = change.old.as_ref().filter(|_| change.old_is_full)?;
        Some(Self::of(image, decoder, program))
    }

    fn of(image: &Image, decoder: &RowDecoder, program: &Program) -> Self {
        Self(RowValues::read(image, decoder, &program.columns))
    }
}

impl Tuple for Row {
    fn value(&self, place: usize) -> Result<Value, Doubt> {
        self.0.value(place)
    }
}

/// A new row with the long values that an update left as they were: the log has them in the old row, if that is whole.
pub(super) fn filled<'a>(new: &'a Image, old: Option<&Image>) -> Cow<'a, Image> {
    let Some(old) = old.filter(|_| new.values.contains(&Datum::Absent)) else { return Cow::Borrowed(new) };
    let mut filled = new.clone();
    for (value, old) in filled.values.iter_mut().zip(&old.values) {
        if *value == Datum::Absent {
            *value = old.clone();
        }
    }
    Cow::Owned(filled)
}
