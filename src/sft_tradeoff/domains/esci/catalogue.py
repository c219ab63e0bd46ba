"""Synthetic catalogue of the ESCI-style domain: categories, attributes, synonyms, brands.

Everything here is invented for this project; brands are fictitious and no line comes from the
Amazon ESCI data. Notation: ``/`` separates spellings of one value (the first is canonical),
``,`` separates different values, ``~`` marks a name that takes no article (dog food).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Category:
    """A kind of product.

    Args:
        names: Interchangeable names, the canonical one first.
        attributes: Attribute -> canonical value -> every spelling of it, canonical included.
            The order of the attributes is the order of adjectives before the noun.
        countable: Whether a singular name takes an article.
    """

    names: tuple[str, ...]
    attributes: Mapping[str, Mapping[str, tuple[str, ...]]]
    countable: bool

    @property
    def name(self) -> str:
        """Canonical name."""
        return self.names[0]


def _values(text: str) -> dict[str, tuple[str, ...]]:
    spellings = (tuple(value.strip().split("/")) for value in text.split(","))
    return {forms[0]: forms for forms in spellings}


def _category(names: str, **attributes: str) -> Category:
    return Category(
        names=tuple(names.removeprefix("~").split("/")),
        attributes={name: _values(text) for name, text in attributes.items()},
        countable=not names.startswith("~"),
    )


BRANDS: dict[str, tuple[str, ...]] = {
    "electronics": ("Quorvex", "Tessilon", "Brixomar", "Lumivane", "Ozkarra"),
    "kitchen": ("Pannovar", "Kettrim", "Zestorelle", "Ovenquist", "Crumblow"),
    "home": ("Drowsley", "Nestorra", "Linnovik", "Hearthelm", "Somnaro"),
    "outdoors": ("Trekvane", "Alpistra", "Cragmoor", "Pedalune", "Wildreth"),
    "tools": ("Gripvolt", "Hammerlyn", "Torquine", "Bramfix", "Steadrow"),
    "pets": ("Pawvello", "Whiskarra", "Barkmoss", "Tailwyn", "Furrento"),
    "beauty": ("Glosselle", "Velmira", "Silkanna", "Dewlora", "Purevine"),
    "office": ("Deskara", "Inkvale", "Paperlyn", "Stilvona", "Clerkwell"),
    "clothing": ("Strivana", "Wovelle", "Threadmoor", "Rainholt", "Fabrizen"),
}

DEPARTMENTS: dict[str, tuple[Category, ...]] = {
    "electronics": (
        _category(
            "smartphone/mobile phone/cell phone",
            condition="brand-new/factory-new, refurbished/renewed, second-hand/pre-owned",
            storage="128 GB/128GB, 256 GB/256GB, 512 GB/512GB",
            sim="dual-SIM/two-SIM, single-SIM/one-SIM",
            color="black, white, gray/grey, purple/violet",
        ),
        _category(
            "phone case/phone cover/smartphone case",
            protection="slim/thin, shockproof/drop-proof",
            color="black, red, gray/grey, blue",
            material="leather, silicone, hard-plastic/polycarbonate",
            extra="with card holder/with card slot, with kickstand/with fold-out stand",
        ),
        _category(
            "laptop/laptop computer/notebook computer",
            screen="13-inch, 15-inch, 17-inch",
            touch="touchscreen/touch-enabled, non-touch/touch-free",
            color="silver, black, gray/grey",
            memory="with 8 GB of RAM/with 8GB RAM, with 16 GB of RAM/with 16GB RAM",
            use="for gaming/for gamers, for office work/for business",
        ),
        _category(
            "headphones/headset",
            connection="wireless/Bluetooth, wired/corded",
            fit="over-ear/around-ear, on-ear/supra-aural, in-ear/earbud-style",
            color="black, white, gray/grey, blue",
            sound="with noise cancelling/with noise cancellation, with extra bass/with deep bass",
        ),
        _category(
            "computer mouse/PC mouse",
            connection="wireless/cordless, wired/corded",
            click="silent/noiseless, clicky/loud-click",
            color="black, white, pink",
            hand="for left-handers/for left hand, for right-handers/for right hand",
        ),
    ),
    "kitchen": (
        _category(
            "coffee maker/coffee machine/coffee brewer",
            capacity="4-cup/four-cup, 8-cup/eight-cup, 12-cup/twelve-cup",
            control="programmable/timer-controlled, push-button/one-button",
            color="black, white, red",
            carafe="with glass carafe/with glass jug, with thermal carafe/with insulated jug",
        ),
        _category(
            "coffee mug/coffee cup",
            capacity="8-ounce/8 oz, 12-ounce/12 oz, 16-ounce/16 oz",
            color="white, blue, green",
            material="ceramic/stoneware, glass, enamel/enameled",
            extra="with lid/with cover, with wide handle/with large handle",
        ),
        _category(
            "frying pan/skillet/fry pan",
            size="8-inch/20 cm, 10-inch/25 cm, 12-inch/30 cm",
            coating="nonstick/non-stick, uncoated/coating-free",
            material="cast-iron/cast iron, stainless-steel/stainless, aluminum/aluminium",
            handle="with wooden handle/with wood handle, with detachable handle",
        ),
        _category(
            "spatula/kitchen turner",
            length="short, long/long-reach",
            shape="slotted/perforated, solid/unslotted",
            color="black, red, teal/turquoise",
            material="silicone, wooden/wood, nylon",
        ),
        _category(
            "chef knife/cook's knife",
            length="6-inch/15 cm, 8-inch/20 cm, 10-inch/25 cm",
            edge="serrated/toothed, plain-edge/straight-edge",
            blade="stainless-steel/stainless, carbon-steel/high-carbon, ceramic",
            handle="with wooden handle/with wood handle, with plastic handle/with polymer handle",
        ),
        _category(
            "cutting board/chopping board",
            size="small/compact, medium/mid-size, large/big",
            shape="round/circular, rectangular/oblong",
            material="bamboo, plastic/polyethylene, glass",
            groove="with juice groove/with drip groove, with flat surface/without groove",
        ),
    ),
    "home": (
        _category(
            "mattress/bed mattress",
            size="twin-size/single-size, queen-size/queen, king-size/king",
            firmness="soft/plush, medium-firm/mid-firm, firm/hard",
            filling="memory-foam/viscoelastic, innerspring/spring-coil, latex/natural-rubber",
            cover="with washable cover/with removable cover, with fixed cover/with sewn-on cover",
        ),
        _category(
            "bed sheets/sheet set",
            size="twin-size/single-size, queen-size/queen, king-size/king",
            pattern="plain/solid-color, striped/stripe-pattern, floral/flower-print",
            color="white, gray/grey, beige/sand-colored",
            material="cotton, linen/flax, polyester/microfiber",
        ),
        _category(
            "curtains/drapes",
            length="63-inch/160 cm, 84-inch/213 cm, 96-inch/244 cm",
            light="blackout/room-darkening, sheer/see-through",
            color="white, gray/grey, navy/dark-blue",
            material="cotton, linen/flax, polyester/microfiber",
        ),
        _category(
            "curtain rod/curtain pole",
            length="adjustable/extendable, fixed-length/non-adjustable",
            thickness="slim/thin, thick/heavy-gauge",
            finish="brass/gold-tone, black, nickel/silver-tone",
            mount="for wall mounting/for walls, for ceiling mounting/for ceilings",
        ),
    ),
    "outdoors": (
        _category(
            "tent/camping tent",
            capacity="2-person/two-person, 4-person/four-person, 6-person/six-person",
            season="three-season/3-season, four-season/4-season",
            color="green, orange, blue",
            setup="with pop-up frame/with instant frame, with poles/with pole frame",
        ),
        _category(
            "sleeping bag/camping sleeping bag",
            season="summer/warm-weather, winter/cold-weather",
            color="green, orange, blue",
            shape="mummy/tapered, rectangular/envelope-style",
            filling="with down filling/with feather filling, with synthetic filling",
        ),
        _category(
            "yoga mat/exercise mat",
            thickness="4 mm/4mm, 6 mm/6mm, 10 mm/10mm",
            texture="non-slip/anti-slip, smooth/untextured",
            color="purple/violet, teal/turquoise, black",
            material="cork, rubber, foam",
            extra="with carrying strap/with shoulder strap, with storage bag/with carry bag",
        ),
        _category(
            "water bottle/drinking bottle",
            capacity="500 ml/half-liter, 750 ml/three-quarter-liter, 1-liter/1000 ml",
            wall="insulated/double-wall, single-wall/uninsulated",
            color="black, green, pink, blue",
            material="stainless-steel/steel, plastic, glass",
            lid="with straw lid/with straw, with screw cap/with screw lid",
        ),
        _category(
            "bicycle/bike",
            gears="single-speed/one-speed, 7-speed/seven-speed, 21-speed/21-gear",
            color="black, red, white, green",
            frame="aluminum/aluminium, steel, carbon-fiber/carbon",
            terrain="for mountain trails/for off-road riding, for road riding/for paved roads",
        ),
        _category(
            "bike helmet/bicycle helmet/cycling helmet",
            size="small, medium, large",
            color="black, red, white, green",
            rider="for kids/for children, for adults/for grown-ups",
            extra="with visor/with sun visor, with rear light/with taillight",
        ),
    ),
    "tools": (
        _category(
            "power drill/electric drill",
            power="cordless/battery-powered, corded/plug-in",
            motor="brushless/brush-free, brushed/carbon-brush",
            color="red, blue, green",
            chuck="with keyless chuck/with tool-free chuck, with keyed chuck/with key chuck",
        ),
        _category(
            "drill bits/drill bit set",
            count="10-piece/ten-piece, 20-piece/twenty-piece",
            coating="titanium/titanium-coated, cobalt/cobalt-alloy",
            shank="hex-shank/hexagonal-shank, round-shank/straight-shank",
            use="for wood/for timber, for metal/for steel, for masonry/for concrete",
        ),
        _category(
            "garden hose/water hose",
            length="25-foot/25 ft, 50-foot/50 ft, 100-foot/100 ft",
            color="green, black, blue",
            material="rubber, vinyl/PVC",
            fittings="with brass fittings/with brass connectors, with plastic fittings",
        ),
        _category(
            "hose nozzle/hose sprayer",
            pattern="multi-pattern/adjustable-spray, single-jet/one-jet",
            color="green, black, blue",
            material="metal/metallic, plastic",
            control="with thumb control/with thumb lever, with trigger/with pistol grip",
        ),
    ),
    "pets": (
        _category(
            "~dog food/dog meal",
            grain="grain-free/cereal-free, whole-grain/with whole grains",
            form="dry/kibble, wet/canned",
            flavor="chicken, beef, salmon",
            age="for puppies/for young dogs, for adult dogs, for senior dogs/for older dogs",
        ),
        _category(
            "dog bowl/dog dish",
            size="small, medium, large/big",
            height="raised/elevated, floor-level/flat-standing",
            color="black, red, blue",
            material="stainless-steel/stainless, ceramic, plastic",
        ),
        _category(
            "~cat litter/kitty litter",
            weight="10-pound/10 lb, 20-pound/20 lb",
            scent="unscented/fragrance-free, lavender-scented/lavender",
            clumping="clumping/scoopable, non-clumping/clump-free",
            material="clay, wood-pellet/wood, tofu/soy",
        ),
        _category(
            "litter box/litter tray",
            size="medium/mid-size, large/big",
            cleaning="self-cleaning/automatic, hand-cleaned/scoop-cleaned",
            color="white, gray/grey, blue",
            top="with hood/with lid, with open top/without lid",
        ),
    ),
    "beauty": (
        _category(
            "~shampoo/hair shampoo",
            volume="250 ml/250ml, 500 ml/500ml",
            formula="sulfate-free/sulphate-free, anti-dandruff/dandruff-control",
            scent="coconut/coconut-scented, lavender/lavender-scented, unscented/fragrance-free",
            hair="for oily hair/for greasy hair, for dry hair, for colored hair/for dyed hair",
        ),
        _category(
            "~hair conditioner/conditioner",
            volume="250 ml/250ml, 500 ml/500ml",
            use="leave-in/no-rinse, rinse-out/wash-out",
            scent="coconut/coconut-scented, lavender/lavender-scented, unscented/fragrance-free",
            hair="for curly hair/for curls, for dry hair, for colored hair/for dyed hair",
        ),
        _category(
            "~nail polish/nail varnish/nail lacquer",
            volume="10 ml/10ml, 15 ml/15ml",
            drying="quick-dry/fast-drying, gel/UV-cured",
            finish="matte/flat, glossy/shiny, glitter/sparkly",
            color="red, pink, purple/violet, black",
        ),
        _category(
            "~nail polish remover/nail varnish remover",
            volume="100 ml/100ml, 200 ml/200ml",
            solvent="acetone/acetone-based, acetone-free/non-acetone",
            scent="unscented/fragrance-free, lavender/lavender-scented",
            closure="with pump top/with pump dispenser, with screw cap/with screw lid",
        ),
    ),
    "office": (
        _category(
            "desk/office desk/work desk",
            width="40-inch/100 cm, 48-inch/120 cm, 60-inch/150 cm",
            height="height-adjustable/sit-stand, fixed-height/non-adjustable",
            shape="L-shaped/corner, rectangular/straight",
            color="black, white, brown",
            storage="with drawers/with pull-out drawers, with shelf/with side shelf",
        ),
        _category(
            "office chair/desk chair",
            back="high-back/tall-back, mid-back/medium-back",
            color="black, white, gray/grey",
            material="mesh, leather, fabric/cloth",
            arms="with armrests/with arms, without armrests/without arms",
        ),
        _category(
            "fountain pen/ink pen",
            nib="fine-nib/thin-line, medium-nib/medium-line, broad-nib/thick-line",
            color="black, blue, green",
            material="metal/metallic, resin/acrylic, wooden/wood",
            filling="with piston filler/with built-in filler, with cartridge filler",
        ),
        _category(
            "~pen ink/fountain pen ink",
            permanence="waterproof/water-resistant, washable/erasable",
            drying="quick-drying/fast-drying, slow-drying/slow-dry",
            color="black, blue, green",
            packaging="in a bottle/in a glass bottle, in cartridges/in a cartridge pack",
        ),
    ),
    "clothing": (
        _category(
            "running shoes/running sneakers",
            wearer="women's/ladies', men's/gents'",
            width="wide/wide-fit, narrow/narrow-fit",
            color="black, white, blue, pink",
            terrain="for trail running/for trails, for road running/for roads",
        ),
        _category(
            "running socks/jogging socks",
            wearer="women's/ladies', men's/gents'",
            length="ankle-length/ankle, knee-high/knee-length",
            color="black, white, blue, pink",
            material="wool/merino, cotton, polyester/synthetic",
        ),
        _category(
            "jeans/denim pants",
            wearer="women's/ladies', men's/gents'",
            fit="slim-fit/skinny, loose-fit/relaxed-fit",
            rise="high-rise/high-waisted, low-rise/low-waisted",
            color="black, blue, white, gray/grey",
        ),
        _category(
            "belt/waist belt",
            wearer="women's/ladies', men's/gents'",
            width="wide, narrow/skinny",
            color="black, brown, white",
            material="leather, canvas/webbing, suede",
        ),
    ),
}

CATEGORIES = {c.name: c for group in DEPARTMENTS.values() for c in group}
DEPARTMENT_OF = {c.name: name for name, group in DEPARTMENTS.items() for c in group}

_USED_WITH = {
    "smartphone": "phone case, headphones",
    "laptop": "computer mouse, headphones, desk",
    "computer mouse": "desk",
    "coffee maker": "coffee mug",
    "frying pan": "spatula",
    "chef knife": "cutting board",
    "mattress": "bed sheets",
    "curtains": "curtain rod",
    "tent": "sleeping bag, water bottle",
    "yoga mat": "water bottle",
    "bicycle": "bike helmet, water bottle",
    "power drill": "drill bits",
    "garden hose": "hose nozzle",
    "dog food": "dog bowl",
    "cat litter": "litter box",
    "shampoo": "hair conditioner",
    "nail polish": "nail polish remover",
    "desk": "office chair",
    "fountain pen": "pen ink",
    "running shoes": "running socks, water bottle",
    "jeans": "belt",
}
COMPLEMENTS = frozenset(
    frozenset((one, other)) for one, others in _USED_WITH.items() for other in others.split(", ")
)
