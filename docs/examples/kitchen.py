from interlock import Server, run

server = Server("kitchen")


@server.tool
async def millilitres(cups: float) -> float:
    """Convert cups to millilitres."""
    return round(cups * 236.588, 1)


if __name__ == "__main__":
    run(server)
