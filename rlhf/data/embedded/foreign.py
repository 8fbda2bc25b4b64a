"""Short prompts in German, French, Spanish and Italian for the log: curation keeps English by default."""

from __future__ import annotations

from collections.abc import Iterator

_SLOTS = {  # language: (wordings, topics)
    "de": (
        (
            "Erzähle mir bitte etwas über {}.",
            "Was weißt du über {} und warum ist das so wichtig?",
            "Schreibe einen kurzen Text über {} für meine Schülerinnen und Schüler.",
            "Kannst du mir erklären, wie man mehr über {} lernt?",
            "Warum interessieren sich so viele Menschen für {}?",
            "Nenne mir drei gute Bücher über {}.",
            "Welche Fehler machen Anfänger, wenn es um {} geht?",
            "Fasse in zwei Sätzen zusammen, was man über {} wissen sollte.",
        ),
        (
            "die Geschichte der Stadt Köln",
            "den Schwarzwald",
            "gesunde Ernährung",
            "das deutsche Schulsystem",
            "klassische Musik",
            "das Backen von Brot",
            "den Klimawandel",
            "Fußball in der Bundesliga",
            "die Pflege von Zimmerpflanzen",
            "das Reisen mit der Bahn",
            "erneuerbare Energien",
            "die Alpen",
            "Katzen und Hunde",
            "moderne Kunst",
            "das Wetter im April",
        ),
    ),
    "fr": (
        (
            "Parle-moi de {}, s'il te plaît.",
            "Que sais-tu sur {} et pourquoi est-ce important ?",
            "Écris un petit texte sur {} pour mes élèves.",
            "Peux-tu m'expliquer comment apprendre davantage sur {} ?",
            "Pourquoi tant de gens s'intéressent-ils à {} ?",
            "Donne-moi trois bons livres sur {}.",
            "Quelles erreurs font les débutants avec {} ?",
            "Résume en deux phrases ce qu'il faut savoir sur {}.",
        ),
        (
            "l'histoire de la ville de Lyon",
            "la cuisine provençale",
            "la santé des enfants",
            "le système scolaire français",
            "la musique classique",
            "la fabrication du fromage",
            "le changement climatique",
            "le cyclisme",
            "l'entretien des plantes",
            "les voyages en train",
            "la littérature du siècle dernier",
            "les Alpes",
            "les chats et les chiens",
            "l'art moderne",
            "la météo",
        ),
    ),
    "es": (
        (
            "Háblame de {}, por favor.",
            "¿Qué sabes sobre {} y por qué es importante?",
            "Escribe un texto breve sobre {} para mis alumnos.",
            "¿Puedes explicarme cómo aprender más sobre {}?",
            "¿Por qué a tanta gente le interesa {}?",
            "Dime tres buenos libros sobre {}.",
            "¿Qué errores cometen los principiantes con {}?",
            "Resume en dos frases lo que hay que saber sobre {}.",
        ),
        (
            "la historia de la ciudad de Sevilla",
            "la cocina mexicana",
            "la alimentación saludable",
            "el sistema escolar español",
            "la música clásica",
            "la elaboración del pan",
            "el cambio climático",
            "el fútbol argentino",
            "el cuidado de las plantas",
            "los viajes en tren",
            "la literatura latinoamericana",
            "los Pirineos",
            "los perros y los gatos",
            "el arte moderno",
            "el clima",
        ),
    ),
    "it": (
        (
            "Parlami di {}, per favore.",
            "Che cosa sai su {} e perché è così importante?",
            "Scrivi un breve testo su {} per i miei studenti.",
            "Puoi spiegarmi come imparare di più su {}?",
            "Perché tante persone si interessano a {}?",
            "Consigliami tre buoni libri su {}.",
            "Quali errori fanno i principianti con {}?",
            "Riassumi in due frasi quello che bisogna sapere su {}.",
        ),
        (
            "la storia della città di Bologna",
            "la cucina siciliana",
            "la salute dei bambini",
            "il sistema scolastico italiano",
            "la musica classica",
            "la preparazione della pasta",
            "il cambiamento climatico",
            "il ciclismo",
            "la cura delle piante",
            "i viaggi in treno",
            "la letteratura del Novecento",
            "le Dolomiti",
            "i cani e i gatti",
            "l'arte moderna",
            "il tempo di aprile",
        ),
    ),
}


def foreign_prompts() -> Iterator[str]:
    """480 prompts, 120 a language."""
    for wordings, topics in _SLOTS.values():
        for wording in wordings:
            for topic in topics:
                yield wording.format(topic)
