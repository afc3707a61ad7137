//! Walking over the tokens of an image.

use core::iter::FusedIterator;
use core::ops::RangeBounds;

use shroom_page::SlicePages;
use shroom_token::{Stored, TokenError, TokenId, TokenRoot};

use super::Value;
use crate::error::Result;

/// Iterator over tokens and their values in id order, made by [`Image::range`](super::Image::range); reversible. After an error it
/// ends.
#[derive(Debug)]
pub struct Range<'i> {
    pages: &'i SlicePages<'i>,
    tokens: shroom_token::Range<'i, SlicePages<'i>>,
}

type Found<'i> = Result<(TokenId, Stored<'i>), TokenError>;

impl<'i> Range<'i> {
    pub(super) fn new(
        pages: &'i SlicePages<'i>,
        root: &TokenRoot,
        ids: impl RangeBounds<u64>,
    ) -> Self {
        let bounds = (
            ids.start_bound().map(|&id| TokenId(id)),
            ids.end_bound().map(|&id| TokenId(id)),
        );
        Self {
            pages,
            tokens: shroom_token::range(pages, root, bounds),
        }
    }

    fn token(&self, found: Found<'i>) -> Result<(u64, Value<'i>)> {
        let (id, stored) = found?;
        Ok((id.0, Value::new(self.pages, stored)))
    }
}

impl<'i> Iterator for Range<'i> {
    type Item = Result<(u64, Value<'i>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.tokens.next()?;
        Some(self.token(found))
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let found = self.tokens.next_back()?;
        Some(self.token(found))
    }
}

impl FusedIterator for Range<'_> {}
