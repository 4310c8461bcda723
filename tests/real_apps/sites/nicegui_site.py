"""NiceGUI: a page whose elements live at the server, and whose clicks come by Socket.IO over a WebSocket."""

from fastapi import FastAPI
from nicegui import ui

app = FastAPI()


@ui.page("/")
def page() -> None:
    count = 0

    def more() -> None:
        nonlocal count
        count += 1
        label.set_text(f"clicked {count} times")

    label = ui.label("not clicked")
    ui.button("more", on_click=more)
    ui.input("name", on_change=lambda event: mirror.set_text(event.value))
    mirror = ui.label("nothing").mark("mirror").props("id=mirror")


ui.run_with(app, title="a page")
