"""How figures are drawn: what a description holds, and its two renderers, matplotlib and Vega-Lite for the page."""
