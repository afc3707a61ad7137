//! Making a failing script short.

use super::Script;

/// Drops steps as long as `fails` still says yes: halves first, then ever smaller pieces, at last single steps, until none
/// can be spared or `attempts` runs were made.
pub fn shrink(script: &Script, attempts: usize, mut fails: impl FnMut(&Script) -> bool) -> Script {
    let mut best = script.clone();
    let mut left = attempts;
    let mut piece = best.steps.len().div_ceil(2);
    while piece > 0 {
        let mut dropped = false;
        // From the end: what came after the failure goes first, and the rest is as it was.
        let mut end = best.steps.len();
        while end > 0 {
            if left == 0 {
                return best;
            }
            left -= 1;
            let start = end.saturating_sub(piece);
            let mut shorter = best.clone();
            shorter.steps.drain(start..end);
            if fails(&shorter) {
                best = shorter;
                dropped = true;
            }
            end = start;
        }
        // Single steps are tried again for as long as one of them goes.
        piece = if piece == 1 {
            usize::from(dropped)
        } else {
            piece.div_ceil(2)
        };
    }
    best
}
