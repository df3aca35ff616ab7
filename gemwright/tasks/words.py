"""The English words that the tasks are made of: single words, no two of one list alike."""

from __future__ import annotations

import random
from collections.abc import Iterable


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "Adam Agnes Alan Alice Amir Anna Anton Astrid Bella Ben Boris Carla Carlos Chloe Clara Colin Daniel Daria David "
    "Diana Dora Edith Edward Elena Elias Ella Emil Emma Erik Eva Felix Fiona Flora Frank Frida Gina Grace Greta Hana "
    "Hannah Hector Helen Henry Hugo Ian Ida Igor Irene Iris Ivan Jack Jana Jonas Julia Karim Karl Kate Laila Lara "
    "Laura Leo Lena Lily Lucas Lucy Luis Magda Maja Marco Maria Mark Martha Max Maya Mila Nadia Nina Noah Nora "
    "Olga Oliver Omar Oscar Otto Paul Paula Petra Philip Rita Robert Rosa Ruth Sam Sara Simon Stella Susan "
    "Tara Theo Thomas Tina Tom Vera Victor Viola Walter Wanda Yara Zoe"
)
SURNAMES = _words(
    "Abbott Adler Baker Barton Becker Bell Bishop Blake Brook Brown Carter Castle Chen Clark Cole Cook Costa Cruz "
    "Dale Dean Dixon Drake Dunn Ellis Evans Farmer Fisher Ford Foster Fox Frost Garner Grant Gray Green Hale Hall "
    "Hansen Hart Hill Holt Hunt Jensen Keller King Klein Knight Lane Lang Lee Lopez Lund Marsh Mason Meyer Miller "
    "Moore Morgan Novak Olsen Page Parker Perez Pike Porter Price Quinn Reed Reyes Rivers Rossi Sand Shaw Silva Stone "
    "Swan Taylor Turner Vega Vogel Wagner Walker Ward Weaver Webb West White Wolf Wood Young Ziegler"
)
ADJECTIVES = _words(
    "amber ancient bitter blue bold brave bright broken bronze busy calm clever cold crooked crystal dark distant "
    "dry dusty early empty fast fierce frozen gentle giant golden grand green happy heavy hidden hollow hungry idle "
    "iron ivory jolly kind large late little lonely loud lucky mellow misty modern narrow noble old orange pale "
    "patient plain polite proud purple quick quiet rapid red rough round royal rusty scarlet secret shy silent silver "
    "simple sleepy slow small smooth soft solid spicy steady stormy strange sunny sweet swift tall tidy tiny velvet "
    "warm wild wise wooden yellow young"
)
NOUNS = _words(
    "anchor apple arrow badger barrel basket beach bear bell berry bird bottle branch bridge brush bucket button "
    "cabin camel candle canyon carpet castle cave chair cherry circle city clock cloud coat comet copper corner crab "
    "crane crown desert diamond dolphin door dragon drum eagle engine falcon farm feather fence field finger fire "
    "flag flame flower flute forest fountain fox garden gate giraffe glass glove goat guitar hammer harbor hat hawk "
    "heron hill honey horse house island jacket jewel kettle key kite kitten ladder lake lamp lantern leaf lemon "
    "letter lion lizard magnet map maple market meadow melon mirror monkey moon mountain mouse needle nest oak ocean "
    "olive onion otter owl paint palace panda parrot path peach pearl pencil pepper piano pigeon pillow pine planet "
    "plum pocket pond potato rabbit radio rain raven ribbon ring river road robot rocket roof rope rose sailor salt "
    "school seal shadow shark sheep shell ship shoe snake snow spider spoon squirrel star station stone storm stove "
    "street sugar table teacher temple tiger tower train tree trumpet tulip turtle valley village violin wagon walnut "
    "water whale wheel willow window winter wolf yard zebra"
)
ITEMS = _words(  # things that people count, in the plural
    "apples balls beads books bottles buttons cakes candles cards chairs cookies cups eggs feathers "
    "flowers hats keys kites lamps lemons letters marbles melons nuts oranges pears pencils photos plates plums ropes "
    "roses shells shirts shoes spoons stamps stars stickers stones tickets tomatoes toys tulips"
)
VERBS = _words(  # in the past, with nothing after them
    "appeared arrived danced disappeared dreamed fell floated grew jumped laughed listened moved paused played rested "
    "returned sang shone slept slipped smiled stood stopped trembled turned waited walked whispered"
)
PLACES = _words(
    "above across behind below beneath beside beyond near outside past towards under"  # with a noun after them
)
CITIES = _words(
    "Amsterdam Athens Bergen Berlin Bern Boston Cairo Chicago Copenhagen Cork Dakar Delhi Dublin Florence Geneva Genoa "
    "Hamburg Hanoi Havana Helsinki Istanbul Jakarta Kyoto Lagos Leeds Lima Lisbon London Lyon Madrid Manila Miami "
    "Milan Munich Nairobi Naples Osaka Oslo Ottawa Paris Porto Prague Quito Riga Rome Rotterdam Seattle Seoul Seville "
    "Sofia Stockholm Sydney Tallinn Tokyo Toronto Turin Venice Vienna Warsaw Zurich"
)
COLOURS = _words("black blue brown gold green grey orange pink purple red silver violet white yellow")
FOODS = _words(
    "bread cake carrots cheese cherries chocolate curry honey noodles olives pancakes pasta pears pizza plums porridge "
    "rice salad soup spinach stew sushi toast waffles"
)
ANIMALS = _words(
    "badger bear camel cat crab dog dolphin eagle falcon fox frog giraffe goat hawk heron horse lion lizard monkey "
    "mouse otter owl panda parrot pigeon rabbit raven seal shark sheep snake spider squirrel swan tiger turtle whale "
    "wolf zebra"
)

THINGS = tuple(dict.fromkeys(NOUNS + ADJECTIVES))

_ONSETS = _words("b d f g h k l m n p r s t v z br dr fl gr kl pl st tr")
_VOWELS = _words("a e i o u")
_CODAS = ("", "", "", *_words("n r l s m t k"))


def invented(random: random.Random, syllables: int) -> str:
    """A word that no dictionary holds, of that many syllables: what is done to its letters cannot be known by heart."""
    parts = (random.choice(_ONSETS) + random.choice(_VOWELS) + random.choice(_CODAS) for _ in range(syllables))
    return "".join(parts)


def sentence(random: random.Random) -> str:
    """Six to nine words in lower case without any mark: "the calm otter waited near the silver bridge"."""
    place = f"{random.choice(PLACES)} the {_thing(random)}"
    return f"the {_thing(random)} {random.choice(VERBS)} {place}"


def _thing(random: random.Random) -> str:
    noun = random.choice(NOUNS)
    return f"{random.choice(ADJECTIVES)} {noun}" if random.random() < 0.7 else noun


def distinct(random: random.Random) -> list[str]:
    """Four to seven different nouns and adjectives."""
    return random.sample(THINGS, random.randrange(4, 8))


def key_of(line: Iterable[str]) -> str:
    """The key of a question about these words, whatever is to be done with them and in whatever order they stand."""
    return f"words {' '.join(sorted(word.lower() for word in line))}"
