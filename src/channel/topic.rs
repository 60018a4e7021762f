//! Topics: `realtime:` and a name.

use std::fmt;
use std::sync::Arc;

const PREFIX: &str = "realtime:";

/// The name of a channel as its client joined it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic(Arc<str>);

/// Why a topic cannot be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// It does not start with `realtime:`, so nobody here serves it.
    Unmatched,
    /// Nothing follows the prefix.
    Empty,
    /// It is longer than the limit.
    TooLong,
}

impl Topic {
    /// Parses a whole topic of at most `bytes_max` bytes.
    pub fn parse(text: &str, bytes_max: usize) -> Result<Self, TopicError> {
        match text.strip_prefix(PREFIX) {
            None => Err(TopicError::Unmatched),
            Some("") => Err(TopicError::Empty),
            Some(_) if text.len() > bytes_max => Err(TopicError::TooLong),
            Some(_) => Ok(Self(text.into())),
        }
    }

    /// The whole topic: `realtime:room`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole topic, shared.
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// The topic without its prefix: `room`. Policies and `system` messages know it by this name.
    pub fn sub(&self) -> &str {
        self.0.strip_prefix(PREFIX).unwrap_or_default()
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_realtime_topics_are_served() {
        let parse = |text| Topic::parse(text, 20).map(|topic| topic.sub().to_owned());
        assert_eq!(parse("realtime:room"), Ok("room".to_owned()));
        assert_eq!(parse("realtime:a:b:c"), Ok("a:b:c".to_owned()));
        assert_eq!(parse("realtime:12345678901"), Ok("12345678901".to_owned()));
        assert_eq!(parse("realtime:123456789012"), Err(TopicError::TooLong));
        assert_eq!(parse("realtime:"), Err(TopicError::Empty));
        assert_eq!(parse("realtime"), Err(TopicError::Unmatched));
        assert_eq!(parse("other:room"), Err(TopicError::Unmatched));
        assert_eq!(parse(""), Err(TopicError::Unmatched));
    }
}
