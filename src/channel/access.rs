//! What policies let one private channel do, as far as it has been asked.
//!
//! Reading is known from the join on; writing is asked at the first message that needs it, and forgotten when a
//! new token or new policies may have changed it.

use super::push::Closing;

/// What a caller may do on a topic, by extension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Receive or send broadcasts.
    pub broadcast: bool,
    /// Receive the presence of others, or be tracked.
    pub presence: bool,
}

impl Rights {
    /// Whether there are any.
    pub fn any(self) -> bool {
        self.broadcast || self.presence
    }

    /// Those of `self` that `other` has not.
    fn without(self, other: Self) -> Self {
        Self { broadcast: self.broadcast && !other.broadcast, presence: self.presence && !other.presence }
    }
}

/// What is known about writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// Nothing; the next message that needs it asks.
    Unknown,
    /// It has been asked, and messages wait for the answer.
    Asked,
    /// This.
    Known(Rights),
    /// This, at least.
    Granted(Rights),
}

/// Whether a message may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Granted,
    Denied,
    /// It has to wait for an answer.
    Unknown,
}

/// What one private channel may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    read: Rights,
    write: Write,
    /// Whether the channel takes part in presence. Reading it counts for nothing otherwise.
    takes_presence: bool,
}

impl Access {
    /// Access of a channel that has been found to be allowed to read this much.
    pub(super) fn new(read: Rights, takes_presence: bool) -> Self {
        Self { read, write: Write::Unknown, takes_presence }
    }

    /// What it reads.
    pub(super) fn reads(&self) -> Rights {
        Rights { presence: self.read.presence && self.takes_presence, ..self.read }
    }

    /// It takes part in presence from now on.
    pub(super) fn take_presence(&mut self) {
        self.takes_presence = true;
    }

    /// Puts what it may read now in the place of what it might before. Answers what it has gained, or why it
    /// must end: whoever loses a right is not left to notice by silence.
    pub(super) fn review(&mut self, read: Rights, sub_topic: &str) -> Result<Rights, Closing> {
        let before = self.reads();
        self.read = read;
        let now = self.reads();
        if !now.any() {
            Err(Closing::Unauthorized(sub_topic.into()))
        } else if before.without(now).any() {
            Err(Closing::NoLongerAuthorized(sub_topic.into()))
        } else {
            Ok(now.without(before))
        }
    }

    /// Takes the answer about writing; `None` forgets it, so that it is asked again.
    pub(super) fn set_write(&mut self, write: Option<Rights>) {
        self.write = write.map_or(Write::Unknown, Write::Known);
    }

    /// Takes what it may write at least; what else it may is asked when it is needed.
    pub(super) fn grant_write(&mut self, write: Rights) {
        self.write = Write::Granted(write);
    }

    /// Whether this is enough for it to go on as before.
    pub(super) fn is_kept_by(&self, read: Rights) -> bool {
        self.reads().any() && !self.reads().without(read).any()
    }

    /// A message waits for the answer from now on.
    pub(super) fn ask_write(&mut self) {
        self.write = Write::Asked;
    }

    /// Whether messages wait for the answer.
    pub(super) fn is_write_asked(&self) -> bool {
        self.write == Write::Asked
    }

    /// Whether a message that needs one of the rights may be sent.
    pub(super) fn may_write(&self, right: impl Fn(Rights) -> bool) -> Permission {
        match self.write {
            Write::Known(rights) | Write::Granted(rights) if right(rights) => Permission::Granted,
            Write::Known(_) => Permission::Denied,
            Write::Unknown | Write::Asked | Write::Granted(_) => Permission::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(broadcast: bool, presence: bool) -> Rights {
        Rights { broadcast, presence }
    }

    #[test]
    fn losing_any_right_that_counts_ends_the_channel() {
        let unauthorized = Err(Closing::Unauthorized("room".into()));
        let no_longer = Err(Closing::NoLongerAuthorized("room".into()));
        for (takes_presence, before, now, expected) in [
            (true, rights(true, true), rights(true, true), Ok(rights(false, false))),
            (true, rights(true, true), rights(true, false), no_longer.clone()),
            (true, rights(true, true), rights(false, true), no_longer.clone()),
            (true, rights(true, false), rights(false, true), no_longer),
            (true, rights(true, true), rights(false, false), unauthorized.clone()),
            (true, rights(true, false), rights(true, true), Ok(rights(false, true))),
            (true, rights(false, true), rights(true, true), Ok(rights(true, false))),
            // What it does not take part in, it cannot lose or gain.
            (false, rights(true, true), rights(true, false), Ok(rights(false, false))),
            (false, rights(true, false), rights(true, true), Ok(rights(false, false))),
            (false, rights(true, true), rights(false, true), unauthorized),
        ] {
            let mut access = Access::new(before, takes_presence);
            assert_eq!(access.review(now, "room"), expected, "{takes_presence} {before:?} {now:?}");
        }
    }

    #[test]
    fn writing_is_unknown_until_it_is_answered_and_when_it_is_forgotten() {
        let mut access = Access::new(rights(true, false), false);
        let broadcast = |access: &Access| access.may_write(|rights| rights.broadcast);
        let presence = |access: &Access| access.may_write(|rights| rights.presence);
        assert_eq!(broadcast(&access), Permission::Unknown);
        access.ask_write();
        assert!(access.is_write_asked());
        access.set_write(Some(rights(true, false)));
        assert_eq!((broadcast(&access), presence(&access)), (Permission::Granted, Permission::Denied));
        access.set_write(None);
        assert_eq!((broadcast(&access), presence(&access)), (Permission::Unknown, Permission::Unknown));
        access.grant_write(rights(true, false));
        assert_eq!((broadcast(&access), presence(&access)), (Permission::Granted, Permission::Unknown));
        assert!(access.is_kept_by(rights(true, true)) && !access.is_kept_by(rights(false, true)));
    }
}
