"""Dash: a page with an input and an output, and a callback between them."""

from dash import Dash, Input, Output, dcc, html

dash = Dash(__name__)
dash.layout = html.Div([dcc.Input(id="name", value="you"), html.Div(id="greeting")])
app = dash.server


@dash.callback(Output("greeting", "children"), Input("name", "value"))
def greet(name: str) -> str:
    return f"Hello, {name}!"
