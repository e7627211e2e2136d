"""The report's style sheet, for wide and narrow screens, light, dark and paper; the colours are Okabe and Ito's."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #fff; --card: #f6f7f8; --ink: #1b1f23; --soft: #59636e; --rule: #d9dee3; --band: #c9d1d9; --honest: #59636e;
  --good: #00745a; --bad: #b84300; --box: #8fa3b5;
  --c0: #d55e00; --c1: #0072b2; --c2: #b4558f; --c3: #007f5f; --c4: #a87400; --c5: #2b86b8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14181c; --card: #1e2429; --ink: #e8ebee; --soft: #a3adb8; --rule: #323a42; --band: #3d4751;
    --honest: #a3adb8; --good: #2fc79c; --bad: #ff8b4a; --box: #6d8193;
    --c0: #ff7d2a; --c1: #4ba3e3; --c2: #e08fc0; --c3: #1fc39a; --c4: #e69f00; --c5: #7cc8f2;
  }
}
@media print {
  :root {
    --page: #fff; --card: #fff; --ink: #000; --soft: #333; --rule: #bbb; --band: #ccc; --honest: #333;
    --good: #00573f; --bad: #8a3200; --box: #999;
    --c0: #b34e00; --c1: #00588a; --c2: #8d3f70; --c3: #005f47; --c4: #7d5600; --c5: #1d658c;
  }
  figure, .card, tr, .row { break-inside: avoid; }
  h2 { break-after: avoid; }
  body { font-size: 11pt; }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1240px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 4px; text-wrap: balance; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0 0 4px; }
p { margin: 0 0 8px; max-width: 72ch; }
p.wide { max-width: none; }
.soft, figcaption, .origin { color: var(--soft); font-size: .92rem; }
section, figure { margin: 40px 0 0; min-width: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 16px; margin-top: 20px; }
.card { background: var(--card); border-left: 5px solid var(--good); border-radius: 4px; padding: 14px 16px; }
.card.bad { border-left: 5px dashed var(--bad); }
.card h2 { font-size: 1rem; font-weight: 500; color: var(--soft); }
.card .figure { font-size: 1.9rem; font-weight: 650; line-height: 1.25; margin: 0; }
.card .state { font-weight: 600; color: var(--good); margin: 0 0 6px; }
.card.bad .state { color: var(--bad); }
.card p { font-size: .95rem; overflow-wrap: anywhere; }
.warnings { margin-top: 20px; border: 1px solid var(--bad); border-radius: 4px; padding: 12px 16px; }
.warnings h2 { font-size: 1rem; color: var(--bad); }
.warnings ul { margin: 4px 0 0; padding-left: 20px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 500px), 1fr)); column-gap: 40px; }
figcaption { margin-bottom: 14px; max-width: 72ch; }
.plot { padding: 0 14px 26px 52px; }
.plot.right { padding-right: 72px; }
svg { display: block; overflow: visible; }
svg svg { overflow: hidden; }
svg text { font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.grid line, .rule { stroke: var(--rule); stroke-width: 1; }
.band { fill: var(--band); opacity: .75; }
polyline { fill: none; stroke-width: 2.4; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
polyline.honest { stroke: var(--honest); stroke-width: 1; opacity: .7; }
.s0 { --c: var(--c0); } .s1 { --c: var(--c1); stroke-dasharray: 9 4; } .s2 { --c: var(--c2); stroke-dasharray: 3 3; }
.s3 { --c: var(--c3); stroke-dasharray: 12 3 3 3; } .s4 { --c: var(--c4); stroke-dasharray: 6 6; }
.s5 { --c: var(--c5); stroke-dasharray: 1 4; stroke-linecap: round; }
polyline.s0, polyline.s1, polyline.s2, polyline.s3, polyline.s4, polyline.s5, .swatch line { stroke: var(--c); }
.badge circle { fill: var(--page); stroke: var(--c); stroke-width: 1.6; stroke-dasharray: none; }
.badge text { fill: var(--ink); font-size: 11px; font-weight: 650; }
.axis-name {
  display: flex; justify-content: space-between; max-width: none; margin: 0 0 6px;
  color: var(--soft); font-size: .85rem;
}
.axis-name.below { justify-content: center; margin: -4px 0 10px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 0; padding: 0; font-size: .9rem; }
.legend li { display: flex; align-items: center; gap: 6px; min-width: 0; overflow-wrap: anywhere; }
.swatch { flex: none; width: 34px; height: 18px; }
.swatch line { stroke-width: 2.4; }
.rows { margin-top: 8px; }
.row { display: grid; grid-template-columns: 170px minmax(0, 1fr) 68px; gap: 0 14px; align-items: center; }
.row .name { text-align: right; overflow-wrap: anywhere; line-height: 1.2; font-size: .92rem; }
.row .value { white-space: nowrap; font-variant-numeric: tabular-nums; font-size: .92rem; }
.row.over .value { color: var(--bad); font-weight: 650; }
.row.over .value::after { content: " !"; }
.whisker { stroke: var(--ink); stroke-width: 1.4; }
.box { fill: var(--box); }
.median { stroke: var(--ink); stroke-width: 2.4; }
.end { fill: var(--ink); }
.row.over .end { fill: var(--bad); }
.budget { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 6 3; }
.track { fill: var(--rule); } .bar { fill: var(--box); }
.row.wide { margin-top: 6px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: 6px; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: baseline; }
th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 96px; padding-left: 0; }
td small { color: var(--soft); display: block; font-weight: 400; }
td.best { font-weight: 700; }
td.short { color: var(--bad); font-weight: 650; }
td .meter { display: block; height: 4px; margin-top: 3px; background: var(--rule); }
td .meter i { display: block; height: 4px; background: var(--box); }
table.payments { max-width: 760px; }
.origin td { text-align: left; overflow-wrap: anywhere; }
.origin th { text-align: left; width: 15em; max-width: 40vw; font-weight: 500; white-space: normal; }
@media (max-width: 640px) {
  h1 { font-size: 1.4rem; }
  section, figure { margin-top: 32px; }
  .row { grid-template-columns: minmax(0, 1fr) 68px; }
  .row .name { grid-column: 1 / -1; text-align: left; margin-top: 4px; }
  .row.wide span:first-child { grid-column: 1 / -1; }
  .row.axis span:first-child { display: none; }
  th, td { padding: 6px 6px; }
  .plot { padding-left: 44px; }
  .plot.right { padding-right: 62px; }
}
"""
