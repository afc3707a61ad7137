//! The picture in a page that tells of the cell under the pointer. It loads nothing: the script is in it.

use shroom::inspect::FileMap;

use super::Title;
use super::cells::Cells;
use super::svg::{self, escape};

const STYLE: &str = "body{margin:0;background:#ffffff}svg{display:block;max-width:100%;height:auto}\
.c:hover{filter:brightness(1.15)}\
#tip{position:fixed;display:none;max-width:34em;padding:.5em .7em;background:#1b1b1b;color:#ffffff;\
font:13px/1.4 system-ui,sans-serif;white-space:pre-line;border-radius:4px;pointer-events:none}";

/// Text is set as text, so nothing that a file says becomes a part of the page.
const SCRIPT: &str = "const tip=document.getElementById('tip');\
document.addEventListener('mousemove',event=>{\
const cell=event.target.closest('.c');\
if(!cell){tip.style.display='none';return}\
tip.textContent=cell.dataset.t;tip.style.display='block';\
const box=tip.getBoundingClientRect();\
tip.style.left=Math.max(4,Math.min(event.clientX+14,innerWidth-box.width-8))+'px';\
tip.style.top=Math.max(4,event.clientY+18+box.height>innerHeight?event.clientY-box.height-10:event.clientY+18)+'px'});";

/// Draws the file.
pub(super) fn draw(map: &FileMap<'_>, cells: &Cells, title: &Title) -> String {
    let picture = svg::draw(map, cells, title, true);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{picture}<div id=\"tip\"></div>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n",
        escape(&title.name)
    )
}
