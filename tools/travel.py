"""A small example pack: book a trip as a saga whose steps can be undone.

Reservations are files in the pack's own folder, so that anyone can see what a saga did and what
its compensations took back. Each file is named by the step's idempotency key: a step that is
repeated after a crash finds its own file instead of reserving twice.
"""

import json
from pathlib import Path

from pydantic import BaseModel

from mcp_orchestrator.packs import BusinessRefusalError, Pack, StepHandle, TaskContext

pack = Pack("travel", description="Book a flight and a hotel, pay, and take it all back.")


class Reservation(BaseModel):
    """What a reservation step returns."""

    reservation_id: str
    kind: str
    details: dict[str, str | int]
    price: int


@pack.action(compensation="travel.cancel_reservation", probe="travel.find_reservation")
async def reserve_flight(origin: str, destination: str, step: StepHandle) -> Reservation:
    """Reserve a seat on a flight; 180 euros."""
    return _reserve(step, "flight", {"origin": origin, "destination": destination}, 180)


@pack.action(compensation="travel.cancel_reservation", probe="travel.find_reservation")
async def reserve_hotel(city: str, nights: int, step: StepHandle) -> Reservation:
    """Reserve a hotel room; 95 euros a night."""
    return _reserve(step, "hotel", {"city": city, "nights": nights}, 95 * nights)


@pack.action(compensation="travel.refund_card", probe="travel.find_reservation")
async def charge_card(
    flight_price: int, hotel_price: int, limit: int, step: StepHandle
) -> Reservation:
    """Charge the card; refused when the sum is over its limit, which undoes the trip."""
    total = flight_price + hotel_price
    if total > limit:
        raise BusinessRefusalError(
            f"The card was declined: {total} euros are over its limit of {limit}.",
            remedy="Choose fewer nights or another card.",
        )
    return _reserve(step, "payment", {"limit": limit}, total)


@pack.compensation()
async def cancel_reservation(result: Reservation | None) -> str:
    """Cancel a flight or hotel reservation; doing it twice is harmless."""
    return _cancel(result)


@pack.compensation()
async def refund_card(result: Reservation | None) -> str:
    """Give the money back; doing it twice is harmless."""
    return _cancel(result)


@pack.probe()
async def find_reservation(step: StepHandle) -> dict[str, object]:
    """Tell whether a step's reservation is there."""
    path = _path(step.idempotency_key)
    there = path.exists()
    return {"happened": there, "result": json.loads(path.read_text()) if there else None}


@pack.handler()
async def write_itinerary(city: str, nights: int, task: TaskContext) -> dict[str, object]:
    """Write a day-by-day plan, in the background."""
    days: list[str] = []
    for day in range(1, nights + 1):
        days.append(f"Day {day}: {city}, {'arrival' if day == 1 else 'free to explore'}")
        await task.report_progress(f"day {day} of {nights} planned", current=day, total=nights)
    return {"city": city, "days": days}


def _reserve(step: StepHandle, kind: str, details: dict[str, str | int], price: int) -> Reservation:
    path = _path(step.idempotency_key)
    if not path.exists():
        reservation = Reservation(
            reservation_id=step.idempotency_key, kind=kind, details=details, price=price
        )
        path.write_text(reservation.model_dump_json(), encoding="utf-8")
    return Reservation.model_validate(json.loads(path.read_text(encoding="utf-8")))


def _cancel(reservation: Reservation | None) -> str:
    if reservation is None:
        return "nothing to cancel"
    _path(reservation.reservation_id).unlink(missing_ok=True)
    return f"cancelled {reservation.kind}"


def _path(reservation_id: str) -> Path:
    return pack.folder / f"{reservation_id.replace(':', '_').replace('/', '_')}.json"
